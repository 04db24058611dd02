"""The crew of a job: its Triton servers and its workers, hired, replaced and dismissed."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platemill.errors import PlatemillError, ServerUnavailable
from platemill.recognize.plan import Plan
from platemill.settings import Settings
from ray_jobs.actors import Outcome, TritonNode, Worker
from ray_jobs.shard_queue import ShardQueue

__all__ = ["Crew"]

_LOG = logging.getLogger(__name__)

# Two shards a worker: one is recognised while the one before it is written.
_SHARDS_A_WORKER = 2
# Workers may die this often in a row without having finished a shard in between.
_MAX_DEATHS = 4
_POLL_SECONDS = 0.5
_STOP_SECONDS = 20.0


@dataclass(eq=False)
class _Hired:
    actor: Any
    node: str = ""
    prepared: bool = False
    connected: bool = False
    connecting: bool = False
    shards: set[str] = field(default_factory=set)
    counts: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)


@dataclass(eq=False)
class _Server:
    actor: Any
    address: str | None = None
    asked: bool = False


class Crew:
    """Works a queue of shards off with Ray actors.

    Everything that was asked of an actor is a reference in one table; ``step`` waits for any of
    them and lets ``_on_…`` say what comes next.

    Args:
        settings: the deployment's settings.
        run_id: the run, for the rows and the servers' logs.
        plan: holds the shards' images.
        queue: the shards that have no record.
    """

    def __init__(self, settings: Settings, run_id: str, plan: Plan, queue: ShardQueue) -> None:
        self._settings = settings
        self._run_id = run_id
        self._plan = plan
        self._queue = queue
        self._asked: dict[Any, tuple[str, _Hired | _Server, str]] = {}
        self._workers: list[_Hired] = []
        self._servers: dict[str, _Server] = {}
        self._deaths = 0

    def __enter__(self) -> Crew:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1 and self._settings.triton_address is None:
            # Only one place to be: the server need not wait for a worker to come up.
            self._start_server(nodes[0])
        for _ in range(min(self._settings.workers, self._queue.waiting)):
            self._hire()
        return self

    def __exit__(self, *_: object) -> None:
        # Ray ends actors as hard as a crash does; asked first, they clean up.
        idle = [hired for hired in self._workers if hired.prepared and not hired.shards]
        for asked in (
            [hired.actor.close.remote() for hired in idle],
            [server.actor.stop.remote() for server in self._servers.values()],
        ):
            with contextlib.suppress(GetTimeoutError, RayActorError, RayTaskError):
                ray.get(asked, timeout=_STOP_SECONDS)
        for actor in [
            *(w.actor for w in self._workers),
            *(s.actor for s in self._servers.values()),
        ]:
            ray.kill(actor)
        _LOG.info("the workers and servers are dismissed")

    def work(self) -> Iterator[str | None]:
        """Work until the queue is finished.

        Yields:
            The key of a shard that was just recorded, or None now and then.

        Raises:
            PlatemillError: another attempt at a shard is useless, or workers cannot be started.
        """
        asked = time.monotonic()
        while not self._queue.finished:
            if not self._asked:
                raise RuntimeError("shards wait, but nobody works on them")
            ready, _ = ray.wait(list(self._asked), num_returns=1, timeout=_POLL_SECONDS)
            for reference in ready:
                yield self._settle(reference)
            if time.monotonic() - asked >= _POLL_SECONDS:
                asked = time.monotonic()
                self._ask_counts()
                yield None

    def live_counts(self) -> list[tuple[int, dict[str, int]]]:
        """``(plates, images by status)`` of the shards that are being worked on."""
        return [
            count
            for hired in self._workers
            for key, count in hired.counts.items()
            if key in hired.shards
        ]

    def _hire(self) -> None:
        actor = (
            ray.remote(Worker)
            .options(num_cpus=1, max_restarts=0, max_concurrency=_SHARDS_A_WORKER + 1)
            .remote(self._run_id, self._plan.pipeline_version)
        )
        hired = _Hired(actor)
        self._workers.append(hired)
        self._ask("node", hired, actor.node.remote())
        self._ask("prepare", hired, actor.prepare.remote())

    def _start_server(self, node: str) -> None:
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = (
            ray.remote(TritonNode)
            .options(num_cpus=0, max_restarts=0, scheduling_strategy=place)
            .remote(self._run_id)
        )
        self._servers[node] = server = _Server(actor, asked=True)
        self._ask("address", server, actor.address.remote(), node)

    def _ask(self, what: str, whom: _Hired | _Server, reference: Any, detail: str = "") -> None:
        self._asked[reference] = (what, whom, detail)

    def _ask_counts(self) -> None:
        waiting = {whom for what, whom, _ in self._asked.values() if what == "counts"}
        for hired in self._workers:
            if hired.shards and hired not in waiting:
                self._ask("counts", hired, hired.actor.counts.remote())

    def _settle(self, reference: Any) -> str | None:
        what, whom, detail = self._asked.pop(reference)
        try:
            value = ray.get(reference)
        except RayActorError as error:
            if isinstance(whom, _Hired):
                self._worker_died(whom, error)
            else:
                self._server_died(detail, error)
            return None
        except RayTaskError as error:
            if what == "recognise" and isinstance(whom, _Hired):
                whom.shards.discard(detail)
                self._queue.failed(detail, str(error))
                self._connect(whom)
                self._fill_all()
                return None
            cause = error.cause
            raise cause if isinstance(cause, PlatemillError) else error from None
        return self._answered(what, whom, detail, value)

    def _answered(self, what: str, whom: _Hired | _Server, detail: str, value: Any) -> str | None:
        if isinstance(whom, _Server):
            whom.address, whom.asked = value, False
            _LOG.info("Triton answers at %s on node %s", value, detail[:8])
            for hired in self._workers:
                if hired.node == detail:
                    self._connect(hired)
        elif what == "recognise":
            return self._shard_ended(whom, value)
        elif what == "counts":
            whom.counts = value
        elif what == "connect":
            whom.connecting, whom.connected = False, True
            self._fill(whom)
        elif what == "node":
            whom.node = value
            if self._settings.triton_address is None and value not in self._servers:
                self._start_server(value)
            self._connect(whom)
        elif what == "prepare":
            whom.prepared = True
            self._connect(whom)
        return None

    def _connect(self, hired: _Hired) -> None:
        address = self._settings.triton_address
        if address is None and hired.node in self._servers:
            address = self._servers[hired.node].address
        if address is None or not hired.prepared or hired.connected or hired.connecting:
            return
        if hired.shards or not hired.node:
            # Shards that still run use the connection that this would replace.
            return
        hired.connecting = True
        self._ask("connect", hired, hired.actor.connect.remote(address))

    def _fill(self, hired: _Hired) -> None:
        while hired.connected and len(hired.shards) < _SHARDS_A_WORKER:
            idle = sum(not other.shards for other in self._workers)
            if hired.shards and self._queue.waiting <= idle:
                # The last shards are for those who have none.
                return
            key = self._queue.take()
            if key is None:
                return
            hired.shards.add(key)
            images = self._plan.images(key)
            self._ask("recognise", hired, hired.actor.recognise.remote(key, images), key)

    def _fill_all(self) -> None:
        for hired in self._workers:
            self._fill(hired)

    def _shard_ended(self, hired: _Hired, outcome: Outcome) -> str | None:
        hired.shards.discard(outcome.key)
        if outcome.error is None:
            self._deaths = 0
            self._queue.done(outcome.key)
            _LOG.info("shard %s is recorded after %.1f s", outcome.key, outcome.seconds)
            self._connect(hired)
            self._fill(hired)
            return outcome.key
        if outcome.final:
            raise outcome.error
        _LOG.warning("shard %s failed: %s", outcome.key, outcome.error)
        self._queue.failed(outcome.key, str(outcome.error))
        if outcome.server_lost:
            # No more work for it until its server is known to answer.
            hired.connected = False
            self._ask_server(hired)
        if not hired.connected:
            self._connect(hired)
        self._fill_all()
        return None

    def _ask_server(self, hired: _Hired) -> None:
        server = self._servers.get(hired.node)
        if server is not None and not server.asked:
            server.address, server.asked = None, True
            self._ask("address", server, server.actor.address.remote(), hired.node)

    def _worker_died(self, hired: _Hired, error: RayActorError) -> None:
        if hired not in self._workers:
            return
        self._workers.remove(hired)
        self._deaths += 1
        why = f"its worker died: {_first_line(error)}"
        _LOG.warning("a worker died with %d shards: %s", len(hired.shards), _first_line(error))
        for key in hired.shards:
            self._queue.failed(key, why)
        # What else was asked of it will never be answered.
        for reference in [r for r, (_, whom, _) in self._asked.items() if whom is hired]:
            del self._asked[reference]
        if self._deaths > _MAX_DEATHS:
            raise ServerUnavailable(
                f"{self._deaths} workers died one after the other, the last because: "
                f"{_first_line(error)}; what was recorded is kept"
            )
        if self._queue.waiting:
            self._hire()
        self._fill_all()

    def _server_died(self, node: str, error: RayActorError) -> None:
        self._deaths += 1
        _LOG.warning("the Triton actor of node %s died: %s", node[:8], _first_line(error))
        if self._deaths > _MAX_DEATHS:
            raise ServerUnavailable(f"Triton cannot be kept running: {_first_line(error)}")
        del self._servers[node]
        self._start_server(node)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]
