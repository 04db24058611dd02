"""A cluster that grows and shrinks on this machine, by Ray's own autoscaler (version 2).

A head without CPUs and ``max_nodes`` nodes at most, each with one CPU and one ``mill_slot``, a
resource that stands where a GPU would. Autoscaler and scheduling are Ray's; the provider that
starts and ends nodes is Ray's fake one, with nodes that are like pods (see ``pod_nodes``).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from platemill.launch.clusters.private import PrivateCluster

__all__ = ["POD", "SLOT", "ElasticCluster"]

SLOT = "mill_slot"
"""The resource that a node has one of, and the head none."""

POD = "MILL_POD"
"""The variable that every process of a node has: the node's id."""

# What Ray's provider calls the head. Not imported: Ray is for the processes of the cluster.
_HEAD_ID = "f" * 51 + "00000"
_HEAD, _NODE = "ray.head.default", "gpu"
_SUPPORT = Path(__file__).parent
_OBJECT_STORE_BYTES = 80_000_000


class ElasticCluster(PrivateCluster):
    """A private cluster whose nodes come and go.

    Args:
        workdir: logs go to ``workdir/ray``.
        max_nodes: beside the head.
        idle_seconds: after so long without work a node goes.
        cwd: working directory of the cluster and of its jobs.
    """

    def __init__(self, workdir: Path, max_nodes: int, idle_seconds: float, cwd: Path) -> None:
        super().__init__(workdir, 180.0, num_cpus=0, cwd=cwd)
        self._config = workdir / "autoscaler.json"
        self._max_nodes = max_nodes
        self._idle_seconds = idle_seconds

    def pods(self) -> list[str]:
        """The ids of the nodes that are there, oldest first."""
        return sorted(self._firsts())

    def kill(self, node: str) -> list[psutil.Process]:
        """End a node as a power cut does, with all that runs on it; returns what that was."""
        first = self._firsts()[node]
        processes = [first, *first.children(recursive=True)]
        known = {process.pid for process in processes}
        # What has lost its parent is the keeper's child.
        processes += [p for p in self._family() if _pod(p) == node and p.pid not in known]
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    act(process)
        return processes

    def preempt(self, node: str) -> None:
        """Give a node notice as Kubernetes does: SIGTERM to its process 1."""
        self._firsts()[node].terminate()

    def drain(self, node: str, seconds: int) -> None:
        """Tell the cluster that a node will end in so many seconds; nobody ends it, though."""
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
            f"--address={self.environment['RAY_ADDRESS']}",
            f"--node-id={node}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=it is wanted elsewhere",
            f"--deadline-remaining-seconds={seconds}",
        ]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True)

    def _family(self) -> list[psutil.Process]:
        assert self.keeper_pid is not None
        return psutil.Process(self.keeper_pid).children(recursive=True)

    def _firsts(self) -> dict[str, psutil.Process]:
        """The process 1 of each node."""
        found = {}
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                if "pod_start" in process.cmdline() and (name := _pod(process)) is not None:
                    found[name] = process
        return found

    def _command(self) -> list[str]:
        self._config.parent.mkdir(parents=True, exist_ok=True)
        self._config.write_text(json.dumps(self._autoscaling()))
        command = [word for word in super()._command() if word != "--no-monitor"]
        return [
            *(f"--num-cpus={0}" if word.startswith("--num-cpus=") else word for word in command),
            f"--autoscaling-config={self._config}",
        ]

    def _node_environment(self) -> dict[str, str]:
        paths = [str(_SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **super()._node_environment(),
            "PYTHONPATH": os.pathsep.join(paths),
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "AUTOSCALER_METRIC_PORT": "0",
        }

    def _autoscaling(self) -> dict[str, Any]:
        node = {"CPU": 1, SLOT: 1, "object_store_memory": _OBJECT_STORE_BYTES}
        return {
            "cluster_name": "elastic",
            "max_workers": self._max_nodes,
            "idle_timeout_minutes": self._idle_seconds / 60,
            "provider": {
                "type": "external",
                "module": "pod_nodes.PodNodeProvider",
                "gcs_address": self.environment["RAY_ADDRESS"],
                "head_node_id": _HEAD_ID,
                "launch_multiple": True,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                _NODE: {
                    "resources": node,
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": self._max_nodes,
                },
            },
            "head_node_type": _HEAD,
            "upscaling_speed": 1.0,
            # Nothing is set up or copied; the autoscaler wants to be told so.
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            **{f"{name}setup_commands": [] for name in ("", "head_", "worker_")},
            **{f"{name}_start_ray_commands": [] for name in ("head", "worker")},
            **{name: [] for name in ("initialization_commands", "cluster_synced_files")},
            "file_mounts_sync_continuously": False,
        }


def _pod(process: psutil.Process) -> str | None:
    """The node that a process belongs to, unless it has written over its variables."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get(POD)
    return None
