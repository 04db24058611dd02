"""The recognition job: ``python -m ray_jobs.recognize --home H --run-id R`` inside a Ray job.

Recognises every shard of the run's plan that has no record yet. Ends with exit code 0 only if all
of them have one, or if the run's budget is spent; ``runs/R/job.json`` says what it ended with,
``runs/R/progress.json`` how far it is. Running it again does what is left.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from platemill.costs.spend import Spend
from platemill.errors import PlatemillError, ShardsIncomplete
from platemill.failpoints import failpoint
from platemill.journal import Journal
from platemill.lake import Lake, ShardRecord, open_lake
from platemill.lake.lease import Tokens
from platemill.lake.storage import plain
from platemill.launch.heartbeat import Watch
from platemill.launch.records import JobProgress, clear_records, write_exit, write_progress
from platemill.observe.logs import JOB_TEXT, run_log
from platemill.recognize.plan import Plan
from platemill.schema import ImageStatus
from platemill.settings import Settings, load_settings
from ray_jobs.hands import Finished
from ray_jobs.shard_queue import ShardQueue

__all__ = ["main", "recognise_plan"]

_LOG = logging.getLogger("ray_jobs.recognize")
_MAX_ATTEMPTS = 3
_CHECKS_A_LEASE = 6
_LOOK_SECONDS = 1.0
_NOTE_SECONDS = 5.0
_NOTED = (
    "images_done",
    "images_total",
    "shards_done",
    "shards_total",
    "plates",
    "quarantined",
)


def recognise_plan(settings: Settings, run_id: str) -> None:
    """Recognise the shards of a run's plan that have no record.

    Raises:
        FlowLost: the flow that this works for is gone.
        ShardsIncomplete: shards have no record, after the attempts they are worth.
        PlatemillError: another attempt is useless.
    """
    folder = settings.runs / run_id
    plan = Plan.load(folder)
    lake = open_lake(settings)
    records = lake.shards(shard.key for shard in plan.shards)
    missing = [key for key, record in records.items() if record is None]
    _LOG.info("%d of %d shards have no record", len(missing), len(records))
    board = _Board(folder, plan, (record for record in records.values() if record))
    board.show([])
    if not missing:
        return
    spend = Spend(folder)
    if spend.has_budget:
        # Days are published whole, the newest first: so many are, should the money not last.
        days = {shard.key: shard.day for shard in plan.shards}
        missing.sort(key=lambda key: days[key], reverse=True)
    queue = ShardQueue(missing, _MAX_ATTEMPTS)
    try:
        _work(settings, run_id, plan, queue, lake, board, spend)
    finally:
        board.close()
    without = [key for key, record in lake.shards(missing).items() if record is None]
    if without and not queue.closed:
        why = queue.given_up.get(without[0], "it was not recorded")
        raise ShardsIncomplete(
            f"{len(without)} of {len(records)} shards of run {run_id} have no record after "
            f"{_MAX_ATTEMPTS} attempts each; shard {without[0]}: {why}. Run again: the others "
            "are kept"
        )


def _work(
    settings: Settings,
    run_id: str,
    plan: Plan,
    queue: ShardQueue,
    lake: Lake,
    board: _Board,
    spend: Spend,
) -> None:
    import ray

    from ray_jobs.crew import Crew

    flow = Watch(settings.runs / run_id, every=_LOOK_SECONDS)
    tokens = Tokens.load(settings.runs / run_id)
    tokens.check(lake.storage)
    checked = time.monotonic()
    ray.init(logging_level=logging.WARNING, log_to_driver=False)
    try:
        with Crew(settings, run_id, plan, queue, board.journal) as crew:
            for finished in crew.work():
                flow.check()
                if time.monotonic() - checked > settings.lease_seconds / _CHECKS_A_LEASE:
                    # The flow may be stopped, and its days another run's by now.
                    tokens.check(lake.storage)
                    checked = time.monotonic()
                record = None if finished is None else lake.shard(finished.key)
                if finished is not None and record is not None:
                    board.add(record)
                    board.note(record, finished)
                board.show(crew.live_counts())
                if not queue.closed and spend.is_over():
                    _LOG.warning("the budget is spent: %d shards are left", queue.close())
    finally:
        ray.shutdown()


class _Board:
    """Keeps the progress file and the journal: what is recorded, and what is done beyond it."""

    def __init__(self, folder: Path, plan: Plan, records: Iterable[ShardRecord]) -> None:
        self._folder = folder
        self._plan = plan
        self._shards = 0
        self._recorded: Counter[str] = Counter()
        self._shown: JobProgress | None = None
        self._noted: JobProgress | None = None
        self._noted_at = 0.0
        self.journal = Journal(folder)
        for record in records:
            self.add(record)

    def add(self, record: ShardRecord) -> None:
        """Count a shard that is recorded."""
        self._shards += 1
        self._recorded.update(record.counts)
        self._recorded["plates"] += record.plates

    def note(self, record: ShardRecord, finished: Finished) -> None:
        """Write a shard that this job recorded into the journal."""
        self.journal.write(
            "shard",
            key=record.key,
            day=record.day,
            node=finished.node,
            worker=finished.worker,
            began=finished.began,
            ended=finished.ended,
            images=record.images,
            bytes=finished.byte_size,
            plates=record.plates,
            **{status.value: record.counts.get(status.value, 0) for status in ImageStatus},
            attempt=finished.attempt,
        )

    def close(self) -> None:
        """Note the last progress."""
        self._note_progress()

    def show(self, live: Iterable[tuple[int, dict[str, int]]]) -> None:
        """Write the progress if it has changed. ``live``: plates, and images by status."""
        counts = self._recorded.copy()
        for plates, by_status in live:
            counts.update(by_status)
            counts["plates"] += plates
        by_status = {status.value: counts[status.value] for status in ImageStatus}
        progress = JobProgress(
            shards_done=self._shards,
            shards_total=len(self._plan.shards),
            images_done=sum(by_status.values()),
            images_total=self._plan.total,
            plates=counts["plates"],
            **by_status,
        )
        if progress != self._shown:
            write_progress(self._folder, progress)
            self._shown = progress
        if time.monotonic() - self._noted_at >= _NOTE_SECONDS:
            self._note_progress()

    def _note_progress(self) -> None:
        shown = self._shown
        if shown is None or shown == self._noted:
            return
        self._noted, self._noted_at = shown, time.monotonic()
        fields = asdict(shown)
        self.journal.write("progress", **{name: fields[name] for name in _NOTED})


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the deployment's folder")
    parser.add_argument("--run-id", required=True, help="the run whose plan is recognised")
    given = parser.parse_args(arguments)
    # Ray stops a job with SIGTERM: end in order, so that the servers are stopped.
    signal.signal(signal.SIGTERM, _end)
    settings = load_settings(home=given.home)
    folder = settings.runs / given.run_id
    # A cluster that starts the job again does not know the file in which it said how it ended.
    clear_records(folder)
    with run_log(folder, given.run_id, settings.log_format, text=JOB_TEXT, part="job"):
        return _run(settings, given.run_id, folder)


def _run(settings: Settings, run_id: str, folder: Path) -> int:
    try:
        recognise_plan(settings, run_id)
    except Exception as raised:
        _LOG.exception("the job ends")
        error = plain(raised, settings.home)
        write_exit(folder, error)
        return error.exit_code if isinstance(error, PlatemillError) else 1
    failpoint("job.exit.before")
    write_exit(folder, None)
    failpoint("job.exit.after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
