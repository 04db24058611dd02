"""The crew of a job: its Triton servers and its workers, hired, replaced and dismissed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError, RayTaskError

from platemill.errors import PlatemillError, ServerUnavailable
from platemill.journal import Journal
from platemill.launch.records import read_tried
from platemill.recognize.plan import Plan, PlannedImage
from platemill.recognize.poison import Death, Ending
from platemill.settings import Settings
from ray_jobs.actors import Outcome
from ray_jobs.hands import Finished, Hired, Server, first_line, short_name
from ray_jobs.nodes import NodeWatch, nodes_with_notice
from ray_jobs.shard_queue import ShardQueue
from ray_jobs.staff import SHARDS_A_WORKER, Staff
from ray_jobs.staffing import need_of
from ray_jobs.turnover import Turnover
from ray_jobs.ward import Patient, Ward, server_death, worker_death

__all__ = ["Crew"]

_LOG = logging.getLogger(__name__)

# Servers and workers may die this often in a row without a sign of life in between: a shard
# recorded, a group that lived, a plain grey picture recognised.
_MAX_DEATHS = 4
_POLL_SECONDS = 0.5
# An embedded server was ready before its address was told.
_CONNECT_SECONDS = 30.0


class Crew:
    """Works a queue of shards off with Ray actors.

    A shard that was there at two deaths is isolated: nothing else is worked on at its place, and
    the images that kill are searched for and quarantined, so that the rest of it is recorded.

    Everything that was asked of an actor is a reference in one table; ``step`` waits for any of
    them and lets ``_on_…`` say what comes next.

    Args:
        settings: the deployment's settings.
        run_id: the run, for the rows and the servers' logs.
        plan: holds the shards' images.
        queue: the shards that have no record.
        journal: the run's, for what comes, goes and fails.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        plan: Plan,
        queue: ShardQueue,
        journal: Journal,
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._plan = plan
        self._queue = queue
        self._journal = journal
        self._nodes = NodeWatch(journal, ray.nodes, nodes_with_notice)
        self._staff = Staff(settings, run_id, plan.pipeline_version)
        self._ward = Ward()
        self._poisonous = 0
        self._tried = read_tried(settings.runs / run_id)
        self._deaths = 0
        self._turnover = Turnover(
            settings, self._staff, self._nodes, queue, self._ward, journal, self._note_failure
        )

    def __enter__(self) -> Crew:
        self._nodes.look(now=True)
        nodes = self._nodes.with_room(need_of(self._settings.worker_resources))
        if self._nodes.count == len(nodes) == 1 and not self._settings.triton_addresses:
            # Only one place to be: the server need not wait for a worker to come up.
            self._staff.start_server(nodes[0])
        self._turnover.fit()
        return self

    def __exit__(self, *_why: object) -> None:
        self._staff.dismiss_all()
        self._nodes.end()
        _LOG.info("the workers and servers are dismissed")

    def work(self) -> Iterator[Finished | None]:
        """Work until the queue is finished.

        Yields:
            A shard that was just recorded, or None now and then.

        Raises:
            PlatemillError: another attempt at a shard is useless, or workers cannot be started.
        """
        asked = time.monotonic()
        while not self._queue.finished:
            if not self._staff.asked:
                raise RuntimeError("shards wait, but nobody works on them")
            ready, _ = ray.wait(self._staff.asked, num_returns=1, timeout=_POLL_SECONDS)
            for reference in ready:
                yield self._settle(reference)
            if time.monotonic() - asked >= _POLL_SECONDS:
                asked = time.monotonic()
                self._ask_counts()
                self._end_stalled()
                self._turnover.look()
                self._turnover.fit()
                self._turnover.check_placed()
                self._fill_all()
                yield None

    def live_counts(self) -> list[tuple[int, dict[str, int]]]:
        """``(plates, images by status)`` of the shards that are being worked on."""
        return [
            count
            for hired in self._staff.workers
            for key, count in hired.counts.items()
            if key in hired.shards
        ]

    def _ask_counts(self) -> None:
        waiting = self._staff.is_asked("counts")
        for hired in self._staff.workers:
            if hired.shards and hired not in waiting:
                self._staff.ask("counts", hired, hired.actor.counts.remote())

    def _end_stalled(self) -> None:
        """End workers that have finished no image for too long; they are replaced as dead ones."""
        limit = self._settings.stall_seconds
        for hired in self._staff.workers:
            if hired.shards and not hired.stalled and time.monotonic() - hired.moved_at > limit:
                hired.stalled = True
                ray.kill(hired.actor)

    def _settle(self, reference: Any) -> Finished | None:
        what, whom, detail = self._staff.settle(reference)
        if what == "leave":
            # Whatever came of it: who was let go is not needed any more.
            self._staff.parted(whom, detail)
            return None
        try:
            value = ray.get(reference)
        except (RayActorError, ActorUnschedulableError) as error:
            if isinstance(whom, Hired):
                self._worker_died(whom, error)
            else:
                self._server_died(detail, error)
            return None
        except RayTaskError as error:
            self._task_failed(what, whom, detail, error)
            return None
        return self._answered(what, whom, detail, value)

    def _task_failed(
        self, what: str, whom: Hired | Server, detail: str, error: RayTaskError
    ) -> None:
        cause = error.cause
        if isinstance(whom, Hired):
            if what == "recognise":
                whom.shards.discard(detail)
                self._note_failure(detail, f"{type(cause).__name__}: {first_line(cause)}")
                self._queue.failed(detail, str(error))
            elif what == "alone":
                whom.shards.discard(detail)
                self._step_failed(self._ward.find(detail), str(error))
            elif what in ("connect", "greet") and isinstance(cause, ServerUnavailable):
                whom.connecting = False
                if what == "connect" and whom.given is not None:
                    # A server that is given is not ours to start again.
                    if self._can_do_without(whom.node, cause):
                        return
                    raise cause from None
                self._not_well(whom, cause)
                return
            else:
                raise cause if isinstance(cause, PlatemillError) else error from None
            self._connect(whom)
            self._fill_all()
            return
        if isinstance(cause, ServerUnavailable) and self._can_do_without(detail, cause):
            return
        raise cause if isinstance(cause, PlatemillError) else error from None

    def _can_do_without(self, node: str, error: ServerUnavailable) -> bool:
        """Whether a node whose server fails may be left alone: there are workers elsewhere."""
        why = first_line(error)
        is_gone = self._turnover.is_gone(node, why)
        if not is_gone:
            others = [one for one in self._staff.workers if one.node not in ("", node)]
            if all(one.benched for one in others):
                return False
            said = "node %s is not used, for its Triton fails: %s"
            _LOG.warning(said, short_name(node), why, extra={"node": short_name(node)})
            for hired in self._staff.at(node):
                hired.benched = True
        server = self._staff.servers.get(node)
        if server is not None or not is_gone:
            self._journal.write("server_lost", node=short_name(node), why=why)
        if server is not None:
            self._staff.end(server)
        self._turnover.fit()
        return True

    def _answered(
        self, what: str, whom: Hired | Server, detail: str, value: Any
    ) -> Finished | None:
        if isinstance(whom, Server):
            whom.address, whom.asked = value, False
            seconds = round(time.monotonic() - whom.since, 3)
            self._journal.write("server_ready", node=short_name(detail), seconds=seconds)
            node = short_name(detail)
            _LOG.info("Triton answers at %s on node %s", value, node, extra={"node": node})
            for hired in self._staff.workers:
                if hired.node == detail:
                    self._connect(hired)
        elif what == "recognise":
            return self._shard_ended(whom, value)
        elif what == "alone":
            return self._step_ended(whom, value)
        elif what == "counts":
            if whom.counts != value:
                whom.moved_at = time.monotonic()
            whom.counts = value
        elif what == "connect":
            if whom.shaken:
                self._staff.ask("greet", whom, whom.actor.greet.remote())
            else:
                self._is_connected(whom)
        elif what == "greet":
            whom.shaken, self._deaths = False, 0
            self._is_connected(whom)
        elif what == "node":
            whom.node = value
            whom.benched = any(other.benched for other in self._staff.at(value))
            if whom.given is None and value not in self._staff.servers and not whom.benched:
                self._staff.start_server(value)
            self._connect(whom)
        elif what == "prepare":
            whom.prepared = True
            self._connect(whom)
        return None

    def _connect(self, hired: Hired) -> None:
        address, seconds = self._address(hired), _CONNECT_SECONDS
        if hired.given is not None:
            seconds = self._settings.triton_start_seconds
        if address is None or not hired.prepared or hired.connected or hired.connecting:
            return
        if hired not in self._staff.workers:
            return
        if hired.shards or not hired.node:
            # Shards that still run use the connection that this would replace.
            return
        hired.connecting, hired.address = True, address
        self._staff.ask("connect", hired, hired.actor.connect.remote(address, seconds))

    def _is_connected(self, hired: Hired) -> None:
        # The server may have been started again in the meantime.
        hired.connecting, hired.connected = False, hired.address == self._address(hired)
        self._connect(hired)
        self._fill_all()

    def _address(self, hired: Hired) -> str | None:
        """Where its server answers; None while that is not known."""
        if hired.given is not None:
            return hired.given
        server = self._staff.servers.get(hired.node)
        return None if server is None else server.address

    def _fill(self, hired: Hired) -> None:
        if not hired.connected or hired.benched or self._turnover.is_leaving(hired):
            return
        patient = self._ward.at(hired.place)
        if patient is not None:
            self._step(patient, hired)
            return
        while len(hired.shards) < SHARDS_A_WORKER:
            idle = sum(
                not one.shards for one in self._staff.workers if self._turnover.may_come(one)
            )
            if hired.shards and self._queue.waiting <= idle:
                # The last shards are for those who have none.
                return
            key = self._queue.take()
            if key is None:
                return
            images = self._images(key)
            self._give("recognise", hired, key, hired.actor.recognise.remote(key, images))

    def _images(self, key: str) -> list[PlannedImage]:
        images = self._plan.images(key)
        if not self._tried:
            return images
        return [replace(i, attempts=self._tried.get(i.uri, i.attempts)) for i in images]

    def _give(self, what: str, hired: Hired, key: str, reference: Any) -> None:
        hired.shards.add(key)
        hired.moved_at = time.monotonic()
        self._staff.ask(what, hired, reference, key)

    def _fill_all(self) -> None:
        for hired in self._staff.workers:
            self._fill(hired)

    def _shard_ended(self, hired: Hired, outcome: Outcome) -> Finished | None:
        hired.shards.discard(outcome.key)
        hired.moved_at = time.monotonic()
        if outcome.error is None:
            self._deaths = 0
            self._queue.done(outcome.key)
            _LOG.info(
                "shard %s is recorded after %.1f s",
                outcome.key,
                outcome.seconds,
                extra=_at(hired, outcome.key),
            )
            self._connect(hired)
            self._fill_all()
            return self._finished(hired, outcome)
        if outcome.final:
            raise outcome.error
        why = first_line(outcome.error)
        where = _at(hired, outcome.key)
        _LOG.warning("shard %s failed: %s", outcome.key, outcome.error, extra=where)
        if outcome.server_lost and self._turnover.spares(hired.node, outcome.key, why):
            # The server went with its node, or goes before it.
            return None
        self._note_failure(outcome.key, why)
        if outcome.server_lost:
            self._was_there(outcome.key)
            self._ask_server(hired, why, afresh=outcome.server_hangs)
        else:
            self._queue.failed(outcome.key, str(outcome.error))
        self._connect(hired)
        self._fill_all()
        return None

    def _finished(self, hired: Hired, outcome: Outcome) -> Finished:
        return Finished(
            outcome.key,
            short_name(hired.node),
            hired.name,
            outcome.began,
            outcome.ended,
            outcome.byte_size,
            self._queue.attempt(outcome.key),
        )

    def _note_failure(self, key: str, why: str) -> None:
        self._journal.write("shard_failed", key=key, attempt=self._queue.attempt(key), why=why)

    def _was_there(self, key: str) -> None:
        """A shard was on its way when something died."""
        if self._queue.died(key):
            said = "shard %s was there at two deaths: it is worked alone"
            _LOG.warning(said, key, extra={"shard": key})
            self._ward.admit(key, len(self._images(key)))

    def _step(self, patient: Patient, hired: Hired) -> None:
        """Do the next step of an isolation, as soon as nobody else works at its place."""
        place = hired.place
        if patient.busy or any(w.shards for w in self._staff.workers if w.place == place):
            return
        step = patient.isolation.step
        images = self._images(patient.key)
        chosen = images if step.record else [images[index] for index in step.images]
        poison = {images[i].uri: verdict for i, verdict in patient.isolation.verdicts.items()}
        patient.busy = True
        reference = hired.actor.alone.remote(
            patient.key, chosen, poison, step.record, self._trail(patient.key)
        )
        self._give("alone", hired, patient.key, reference)

    def _step_ended(self, hired: Hired, outcome: Outcome) -> Finished | None:
        hired.shards.discard(outcome.key)
        hired.moved_at = time.monotonic()
        patient = self._ward.find(outcome.key)
        recorded = None
        if outcome.error is None:
            self._deaths = 0
            patient.busy = False
            patient.isolation.lived()
            if patient.isolation.ending is Ending.RECORDED:
                self._ward.leave(patient)
                self._queue.done(outcome.key)
                where = _at(hired, outcome.key)
                _LOG.info("shard %s is recorded, alone", outcome.key, extra=where)
                recorded = self._finished(hired, outcome)
        elif outcome.final:
            raise outcome.error
        elif outcome.server_lost:
            why = first_line(outcome.error)
            if self._turnover.spares(hired.node, outcome.key, why):
                return None
            self._step_died(patient, server_death(outcome.server_hangs, why))
            self._ask_server(hired, why, afresh=outcome.server_hangs)
        else:
            self._step_failed(patient, str(outcome.error))
        self._connect(hired)
        self._fill_all()
        return recorded

    def _step_died(self, patient: Patient, death: Death) -> None:
        patient.busy = False
        known = len(patient.isolation.verdicts)
        patient.isolation.died(death)
        where = {"shard": patient.key}
        _LOG.warning("shard %s, alone: %s", patient.key, death.detail, extra=where)
        self._note_failure(patient.key, death.detail)
        found = len(patient.isolation.verdicts) - known
        if found:
            images = self._images(patient.key)
            uri = images[list(patient.isolation.verdicts)[-1]].uri
            _LOG.warning("%s killed twice, alone: it is quarantined", uri, extra=where)
        self._poisonous += found
        if self._poisonous > self._settings.poison_images:
            raise ServerUnavailable(
                f"{self._poisonous} images of this run kill, more than poison_images = "
                f"{self._settings.poison_images} allows, so they may not be to blame. The last: "
                f"{death.detail}. The servers' logs are in {self._settings.runs / self._run_id}; "
                "if it is the images, set PLATEMILL_POISON_IMAGES higher and run again"
            )
        self._discharge(patient, death.detail)

    def _step_failed(self, patient: Patient, why: str) -> None:
        patient.busy = False
        patient.isolation.failed()
        where = {"shard": patient.key}
        _LOG.warning("shard %s failed, alone: %s", patient.key, why, extra=where)
        self._note_failure(patient.key, why)
        self._discharge(patient, why)

    def _discharge(self, patient: Patient, why: str) -> None:
        if patient.isolation.ending is Ending.GIVEN_UP:
            self._ward.leave(patient)
            self._queue.give_up(patient.key, why)

    def _trail(self, key: str) -> Path:
        return self._settings.runs / self._run_id / f"trail-{key}"

    def _ask_server(self, hired: Hired, why: str, *, afresh: bool = False) -> None:
        """No more work for a server's workers until it is known to answer."""
        hired.connected, hired.shaken = False, True
        server = self._staff.servers.get(hired.node)
        if server is None or server.asked or server.address != hired.address:
            # It is given, or being started again, or it was by now.
            return
        if self._turnover.is_leaving(hired):
            return
        server.address, server.asked, server.since = None, True, time.monotonic()
        self._journal.write("server_lost", node=short_name(hired.node), why=why)
        for other in self._staff.workers:
            if other.node == hired.node:
                other.connected, other.shaken = False, True
        self._staff.ask("address", server, server.actor.address.remote(afresh), hired.node)

    def _not_well(self, hired: Hired, error: ServerUnavailable) -> None:
        """Triton died or hung where no image can be to blame."""
        if hired.place and self._turnover.is_gone(hired.node, first_line(error)):
            return
        if hired.address == self._address(hired):
            self._count_death(f"Triton cannot recognise a grey picture: {first_line(error)}")
        self._ask_server(hired, first_line(error), afresh=True)
        self._connect(hired)

    def _count_death(self, why: str) -> None:
        self._deaths += 1
        _LOG.warning("death %d in a row: %s", self._deaths, why)
        if self._deaths > _MAX_DEATHS:
            raise ServerUnavailable(
                f"servers or workers died {self._deaths} times in a row, the last time: {why}. "
                f"Their logs are in {self._settings.runs / self._run_id}. Run again: what was "
                "recognised is kept"
            )

    def _worker_died(self, hired: Hired, error: RayError) -> None:
        why = first_line(error)
        if hired.node and not hired.stalled and self._turnover.is_gone(hired.node, why):
            self._staff.end(hired)
            self._turnover.take_back(hired, why)
            self._turnover.fit()
            self._fill_all()
            return
        if hired not in self._staff.workers:
            return
        if hired.stalled:
            why = f"it finished no image in {self._settings.stall_seconds:g} s and was ended"
        _LOG.warning("a worker died with %d shards: %s", len(hired.shards), why, extra=_at(hired))
        self._journal.write("worker_lost", node=short_name(hired.node), why=why)
        self._staff.end(hired)
        self._count_death(why)
        for key in hired.shards:
            self._orphaned(key, why)
        if self._queue.waiting or not self._ward.empty:
            self._staff.hire(shaken=True)
        self._fill_all()

    def _orphaned(self, key: str, why: str) -> None:
        """The worker of a shard died."""
        try:
            patient = self._ward.find(key)
        except KeyError:
            self._note_failure(key, why)
            self._was_there(key)
            return
        self._step_died(patient, worker_death(self._trail(key), why))
        if patient.isolation.ending is Ending.GOES_ON:
            self._ward.move(patient)

    def _server_died(self, node: str, error: RayError) -> None:
        why = first_line(error)
        is_gone = self._turnover.is_gone(node, why)
        server = self._staff.servers.get(node)
        if server is None:
            return
        self._journal.write("server_lost", node=short_name(node), why=why)
        for hired in self._staff.at(node):
            hired.connected, hired.shaken = False, True
        self._staff.end(server)
        if not is_gone:
            self._count_death(f"the Triton actor of node {short_name(node)} died: {why}")
            self._staff.start_server(node)


def _at(hired: Hired, key: str | None = None) -> dict[str, str]:
    """Where something happened, for the structured log."""
    where = {"node": short_name(hired.node), "worker": hired.name}
    return where if key is None else {**where, "shard": key}
