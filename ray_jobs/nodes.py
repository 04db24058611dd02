"""Which nodes a job has: it sees them come and go, and says so in the run's journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from platemill.journal import Journal
from ray_jobs.hands import short_name

__all__ = ["NodeWatch"]

_LOOK_SECONDS = 2.0


class NodeWatch:
    """Notes nodes that join and leave.

    Args:
        journal: the run's.
        look: returns the cluster's nodes as ``ray.nodes()`` does.
    """

    def __init__(self, journal: Journal, look: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._journal = journal
        self._look = look
        self._up: set[str] = set()
        self._looked = 0.0

    def look(self, *, now: bool = False) -> None:
        """See who has come and gone, at most every two seconds unless it is asked for ``now``."""
        if not now and time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for node in self._look():
            name = node["NodeID"]
            if node["Alive"] and name not in self._up:
                self._up.add(name)
                self._journal.write("node_up", node=short_name(name), **_size(node["Resources"]))
            elif not node["Alive"] and name in self._up:
                self._down(name, node.get("DeathReasonMessage") or "it does not answer")

    def end(self) -> None:
        """The job ends, and with it its use of the nodes that are left."""
        for name in sorted(self._up):
            self._down(name, "job ended")

    def _down(self, name: str, why: str) -> None:
        self._up.discard(name)
        self._journal.write("node_down", node=short_name(name), why=why)


def _size(resources: Mapping[str, float]) -> dict[str, object]:
    gpus = resources.get("GPU", 0.0)
    return {"kind": "gpu" if gpus else "cpu", "cpus": resources.get("CPU", 0.0), "gpus": gpus}
