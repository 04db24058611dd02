"""What nodes that come and go mean for the staff of a job and for its shards."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from platemill.errors import ServerUnavailable
from platemill.journal import Journal
from platemill.settings import Settings
from ray_jobs.hands import Hired, short_name
from ray_jobs.nodes import NodeWatch
from ray_jobs.shard_queue import ShardQueue
from ray_jobs.staff import Staff
from ray_jobs.staffing import need_of, superfluous, wanted_workers
from ray_jobs.ward import Ward

__all__ = ["Turnover"]

_LOG = logging.getLogger(__name__)

_NO_CONNECTIONS = "it takes no connections any more"
# A node that has notice is left this long before its end: the rest is for stopping what runs there.
_GIVE_BACK_SECONDS = 8.0
# Where there is room, a worker is there after so long; else it waits for a node.
_START_SECONDS = 5.0


class Turnover:
    """Hires who is worth a node and dismisses who is not; takes back what a node had that goes.

    A node that is lost or leaves is nobody's fault: its shards wait again without having used up
    an attempt, and no death is counted.

    Args:
        settings: the deployment's settings.
        staff: who is hired.
        nodes: who is there.
        queue: the shards.
        ward: those that are worked alone.
        journal: the run's.
        note: told of a shard that was being worked on why it has failed.
    """

    def __init__(
        self,
        settings: Settings,
        staff: Staff,
        nodes: NodeWatch,
        queue: ShardQueue,
        ward: Ward,
        journal: Journal,
        note: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._staff = staff
        self._nodes = nodes
        self._queue = queue
        self._ward = ward
        self._journal = journal
        self._note = note
        self._placed_at = time.monotonic()
        self._noticed: set[str] = set()

    def look(self, *, now: bool = False) -> None:
        """See which nodes have gone or go, and do what follows from it."""
        for node, why in self._nodes.look(now=now).items():
            self._node_lost(node, why)
        for node, seconds in self._nodes.leaving().items():
            self._node_leaves(node, seconds)

    def _node_lost(self, node: str, why: str) -> None:
        """A node is gone, with its server, its workers and their shards, none of which did it."""
        server = self._staff.servers.get(node)
        lost = self._staff.lose(node)
        if server is None and not lost:
            return
        _LOG.warning(
            "node %s is gone with %d workers and %d shards: %s",
            short_name(node),
            len(lost),
            sum(len(hired.shards) for hired in lost),
            why,
            extra={"node": short_name(node)},
        )
        if server is not None:
            self._journal.write("server_lost", node=short_name(node), why=why)
        for hired in lost:
            self._journal.write("worker_lost", node=short_name(node), why=why)
            self.take_back(hired, why, lost=True)
        self._leave_ward(node, why)

    def _node_leaves(self, node: str, seconds: float | None) -> None:
        """A node has notice: nobody begins there; what cannot be finished in time is given back."""
        there = self._staff.at(node)
        if there and node not in self._noticed:
            self._noticed.add(node)
            _LOG.warning(
                "node %s leaves%s; %d workers finish their shards",
                short_name(node),
                "" if seconds is None else f" in {seconds:.0f} s",
                len(there),
                extra={"node": short_name(node)},
            )
        for hired in there:
            if not hired.shards:
                self._staff.let_go(hired)
            elif seconds is not None and seconds < _GIVE_BACK_SECONDS:
                self._staff.end(hired)
                self.take_back(hired, "its node leaves")
        if not self._staff.at(node):
            self._leave_ward(node, "its node leaves")
            self._staff.close_server(node)
            if there:
                name = short_name(node)
                _LOG.info("nobody works on node %s any more", name, extra={"node": name})

    def _leave_ward(self, node: str, why: str) -> None:
        """Who was worked alone on a node that goes is worked somewhere else."""
        patient = self._ward.places.get(node)
        if patient is not None:
            self.returned(patient.key, why)

    def returned(self, key: str, why: str, *, lost: bool = False) -> None:
        """A shard waits again, for its node is gone or goes."""
        if not self._queue.is_worked_on(key):
            return
        with contextlib.suppress(KeyError):
            self._ward.leave(self._ward.find(key))
        self._note(key, why)
        if lost:
            self._queue.lost(key, why)
        else:
            self._queue.give_back(key)

    def spares(self, node: str, key: str, why: str) -> bool:
        """Take a shard back if its node has gone or goes; whether that is so."""
        if not self.is_gone(node, why):
            return False
        self.returned(key, why, lost=node not in self._nodes.leaving())
        return True

    def take_back(self, hired: Hired, why: str, *, lost: bool = False) -> None:
        """All shards of a worker wait again."""
        for key in hired.shards:
            self.returned(key, why, lost=lost)
        hired.shards.clear()

    def is_gone(self, node: str, why: str) -> bool:
        """Whether a node has gone or goes, so that nothing is to blame for a death there."""
        self.look(now=True)
        if node in self._nodes.leaving() or not self._nodes.is_up(node):
            return True
        if self._nodes.answers(node):
            return False
        _LOG.warning("node %s takes no connections; what was seen: %s", short_name(node), why)
        self._nodes.lose(node, _NO_CONNECTIONS)
        self._node_lost(node, _NO_CONNECTIONS)
        return True

    def is_leaving(self, hired: Hired) -> bool:
        """Whether its node has notice."""
        return hired.node in self._nodes.leaving()

    def may_come(self, hired: Hired) -> bool:
        """Whether it will be there for the last shards: it has a place, or is being started."""
        if hired.benched or self.is_leaving(hired):
            return False
        return bool(hired.node) or time.monotonic() - hired.moved_at < _START_SECONDS

    def fit(self) -> None:
        """Hire who is worth a node, and let go who is not."""
        staying = [
            hired
            for hired in self._staff.workers
            if not hired.benched and not self.is_leaving(hired)
        ]
        wanted = wanted_workers(
            self._settings.workers,
            sum(bool(hired.shards) for hired in staying),
            self._queue.waiting,
            self._settings.worker_shards,
            self._ward.idle,
        )
        for _ in range(wanted - len(staying)):
            self._staff.hire()
        for hired in superfluous(staying, len(staying) - wanted, self._ward.places):
            self._staff.let_go(hired)
        if not self._queue.waiting and not self._ward.idle:
            for hired in [one for one in self._staff.workers if one.benched]:
                self._staff.let_go(hired)

    def check_placed(self) -> None:
        """End a job that nobody can work for."""
        workers = self._staff.workers
        if not workers or any(hired.node and not hired.benched for hired in workers):
            self._placed_at = time.monotonic()
        waited = time.monotonic() - self._placed_at
        if waited > self._settings.node_wait_seconds:
            need = need_of(self._settings.worker_resources)
            raise ServerUnavailable(
                f"no node has had room for a worker for {waited:.0f} s. A worker needs {need}; the "
                f"nodes have {self._nodes.resources()}. Look at the autoscaler (ray status), its "
                "limits and the cloud's quota, and at PLATEMILL_WORKER_RESOURCES; or give nodes "
                "longer to come (PLATEMILL_NODE_WAIT_SECONDS). What was recorded is kept"
            )
