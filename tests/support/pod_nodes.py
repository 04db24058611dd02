"""Ray's fake multi-node provider, with nodes that are started and ended as pods are.

The autoscaler loads it by name (see ``elastic_cluster``). A node is ``ray start --block`` on
loopback in a process group of its own, which is what is process 1 of a KubeRay pod. It ends by
SIGTERM, like a pod that is deleted or preempted, or because somebody kills it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from elastic_cluster import POD
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from platemill.processes import end_with_parent

__all__ = ["NOTICE_SECONDS", "PodNodeProvider"]

NOTICE_SECONDS = 30.0
"""What a pod is given between SIGTERM and its end, as on a spot node."""

_GRACE_SECONDS = 10.0


class PodNodeProvider(FakeMultiNodeProvider):  # type: ignore[misc]
    """Ray's own provider, less the nodes inside the autoscaler's process."""

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Which nodes there are; one whose process has ended is there no more."""
        with self.lock:
            for name, node in list(self._nodes.items()):
                process = node.get("node")
                if process is not None and process.poll() is not None:
                    del self._nodes[name]
            found: list[str] = super().non_terminated_nodes(tag_filters)
            return found

    def _next_hex_node_id(self) -> str:
        # Ray's own begin alike, and people read the beginning.
        self._next_node_id += 1
        return f"{self._next_node_id:012d}".ljust(56, "f")

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: dict[str, str], count: int, resources: Any, labels: Any
    ) -> None:
        del node_config, count, labels
        with self.lock:
            name = self._next_hex_node_id()
            kind = tags[TAG_RAY_USER_NODE_TYPE]
            self._nodes[name] = {
                "tags": {
                    TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
                    TAG_RAY_USER_NODE_TYPE: kind,
                    TAG_RAY_NODE_NAME: name,
                    TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
                    **tags,
                },
                "node": _start(name, kind, self._gcs_address, dict(resources)),
            }

    def _terminate_node(self, node: dict[str, Any]) -> None:
        process: subprocess.Popen[bytes] = node["node"]
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(name: str, kind: str, gcs: str, resources: dict[str, float]) -> subprocess.Popen[bytes]:
    memory = int(resources.pop("object_store_memory"))
    cpus = int(resources.pop("CPU", 0))
    folder = Path(os.environ["MILL_CLUSTER_FOLDER"])
    command = [
        *(sys.executable, "-m", "pod_start", "start", "--block"),
        f"--address={gcs}",
        "--node-ip-address=127.0.0.1",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        f"--object-store-memory={memory}",
        f"--num-cpus={cpus}",
        f"--resources={json.dumps(resources)}",
        "--disable-usage-stats",
        "--include-log-monitor=false",
    ]
    environment = {
        **os.environ,
        POD: name,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": name,
        "RAY_CLOUD_INSTANCE_ID": name,
        "RAY_NODE_TYPE_NAME": kind,
        "RAY_START_HOOK": "pod_start.start_hook",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(NOTICE_SECONDS),
    }
    with (folder / "session_latest" / "logs" / f"pod-{name[:12]}.log").open("ab") as output:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: end_with_parent(signal.SIGTERM),
        )
