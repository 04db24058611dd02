"""Which nodes a job has: it sees them come, get notice and go, and says so in the run's journal."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from platemill.journal import Journal
from ray_jobs.hands import short_name

__all__ = ["NodeWatch", "nodes_with_notice"]

_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 3.0


def nodes_with_notice() -> dict[str, int]:
    """Nodes that drain, and when each will end, in milliseconds since 1970; 0: not said.

    A node drains when its ``ray start`` gets SIGTERM, as a pod does that is preempted, when
    somebody calls ``ray drain-node``, and when the autoscaler takes it away.
    """
    # Ray has no public way to ask; Ray Train's own watcher of preemptions asks here, too.
    from ray._private.state import state

    return dict(state.get_draining_nodes())


class NodeWatch:
    """Notes nodes that join and leave.

    Args:
        journal: the run's.
        look: returns the cluster's nodes as ``ray.nodes()`` does.
        notices: returns the nodes that drain as ``nodes_with_notice`` does.
    """

    def __init__(
        self,
        journal: Journal,
        look: Callable[[], Iterable[Mapping[str, Any]]],
        notices: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._journal = journal
        self._look = look
        self._notices = notices
        self._up: dict[str, Mapping[str, Any]] = {}
        self._lost: set[str] = set()
        self._ends: dict[str, float | None] = {}
        self._looked = 0.0

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return len(self._up)

    def look(self, *, now: bool = False) -> dict[str, str]:
        """See who has come and gone, at most every two seconds unless it is asked for ``now``.

        Returns:
            The nodes that have gone since the last look: id → why.
        """
        gone: dict[str, str] = {}
        if not now and time.monotonic() - self._looked < _LOOK_SECONDS:
            return gone
        self._looked = time.monotonic()
        for node in self._look():
            name = node["NodeID"]
            if node["Alive"] and name not in self._up and name not in self._lost:
                self._up[name] = node
                self._journal.write("node_up", node=short_name(name), **_size(node["Resources"]))
            elif not node["Alive"] and name in self._up:
                gone[name] = node.get("DeathReasonMessage") or "it does not answer"
                self._down(name, gone[name])
        for name, at in self._notices().items():
            if name in self._up and name not in self._ends:
                self._ends[name] = time.monotonic() + at / 1000 - time.time() if at else None
        return gone

    def lose(self, name: str, why: str) -> None:
        """Its work shows that a node is gone, before the cluster has noticed."""
        self._lost.add(name)
        if name in self._up:
            self._down(name, why)

    def leaving(self) -> dict[str, float | None]:
        """Nodes that have notice, and the seconds until they end; None: not said."""
        now = time.monotonic()
        return {name: None if at is None else at - now for name, at in self._ends.items()}

    def is_up(self, name: str) -> bool:
        """Whether a node was there at the last look."""
        return name in self._up

    def answers(self, name: str) -> bool:
        """Whether a node's own process takes connections.

        Ray takes half a minute to call a node dead that was cut off; this says it at once.
        """
        node = self._up.get(name)
        if node is None:
            return False
        try:
            address = (node["NodeManagerAddress"], node["NodeManagerPort"])
            socket.create_connection(address, _ANSWER_SECONDS).close()
        except OSError:
            return False
        return True

    def with_room(self, need: Mapping[str, float]) -> list[str]:
        """The nodes that have all of these resources, free or not."""
        return [
            name
            for name, node in self._up.items()
            if all(node["Resources"].get(what, 0.0) >= amount for what, amount in need.items())
        ]

    def resources(self) -> str:
        """What the nodes have, for people."""
        sizes = [
            {k: v for k, v in node["Resources"].items() if not k.startswith(("node:", "object_"))}
            for node in self._up.values()
        ]
        return ", ".join(map(str, sizes)) or "none"

    def end(self) -> None:
        """The job ends, and with it its use of the nodes that are left."""
        for name in sorted(self._up):
            self._down(name, "job ended")

    def _down(self, name: str, why: str) -> None:
        del self._up[name]
        self._ends.pop(name, None)
        self._journal.write("node_down", node=short_name(name), why=why)


def _size(resources: Mapping[str, float]) -> dict[str, object]:
    gpus = resources.get("GPU", 0.0)
    return {"kind": "gpu" if gpus else "cpu", "cpus": resources.get("CPU", 0.0), "gpus": gpus}
