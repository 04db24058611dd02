"""A night's stages, each safe to repeat. The flow calls them in order; this is what they do."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.archive.inventory import Found, take_inventory
from platemill.archive.retry import retry_inventory
from platemill.costs.actual import totals
from platemill.costs.choice import choose_days, require_prices
from platemill.costs.estimate import DayWork, Estimate
from platemill.costs.history import rows_of_run
from platemill.documents import write_json
from platemill.errors import GenerationConflict, LeaseHeld, ShardsIncomplete, error_record
from platemill.failpoints import failpoint
from platemill.features.online import OnlineProgress, finish_online, is_behind, stage_online
from platemill.journal import Journal, read_journal
from platemill.lake import ShardRecord, open_lake
from platemill.lake.inventory import load_inventory, newest_inventory, save_inventory
from platemill.lake.lease import PUBLISH, Holder, day_lease
from platemill.lake.storage import clear_disk_errors, plain
from platemill.launch.outlook import LeftDays, Outlook, is_private
from platemill.launch.progress import WaitProgress
from platemill.launch.recognition import run_recognition
from platemill.launch.records import (
    ERROR,
    REQUEST,
    STOPPED,
    SUMMARY,
    JobProgress,
    write_tried,
)
from platemill.recognize.night_plan import plan_night
from platemill.recognize.plan import PLAN_FILES, Plan
from platemill.schema import ImageStatus
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.warehouse.budget import check_budget, to_try_again
from platemill.warehouse.check_results import record_results
from platemill.warehouse.checks import REPORT, run_checks
from platemill.warehouse.facts import Draft, merge_facts
from platemill.warehouse.publish import finish_publish, publish
from platemill.warehouse.run_costs import record_run_costs
from platemill.warehouse.tiles import build_tiles

__all__ = ["Night", "Request"]

_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Request:
    """What a night was asked to do."""

    run_id: str
    archives: tuple[str, ...]
    days: frozenset[dt.date] | None
    layout: str
    started_at: dt.datetime
    retry: tuple[str, ...] = ()
    """URIs of quarantined images: the night is over exactly these, and names no archive."""
    budget: float | None = None
    """What the night may cost, in the currency of the price table."""

    def save(self, folder: Path) -> None:
        """Write it into the run's folder."""
        document = {
            "run_id": self.run_id,
            "archives": list(self.archives),
            "days": sorted(map(str, self.days)) if self.days else None,
            "layout": self.layout,
            "started_at": self.started_at.isoformat(),
            "retry": list(self.retry),
            "budget": self.budget,
        }
        write_json(folder / REQUEST, document)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it back."""
        said = json.loads((folder / REQUEST).read_text())
        return cls(
            run_id=said["run_id"],
            archives=tuple(said["archives"]),
            days=frozenset(map(dt.date.fromisoformat, said["days"])) if said["days"] else None,
            layout=said["layout"],
            started_at=dt.datetime.fromisoformat(said["started_at"]),
            retry=tuple(said["retry"]),
            budget=said.get("budget"),
        )


class Night:
    """One night over some archives. Every stage may be called again after a failure.

    Args:
        settings: the deployment's settings.
        request: what is asked for; its run folder exists.
    """

    def __init__(self, settings: Settings, request: Request) -> None:
        self._settings = settings
        self._request = request
        self._lake = open_lake(settings)
        self._found: Found | None = None
        self._draft: Draft | None = None
        self._holder: Holder | None = None
        self.run_id = request.run_id
        self.folder = settings.runs / request.run_id
        self._journal = Journal(self.folder)

    @classmethod
    def new(
        cls,
        settings: Settings,
        run_id: str,
        archives: Sequence[str],
        days: frozenset[dt.date] | None,
        retry: Sequence[str] = (),
        budget: float | None = None,
    ) -> Self:
        """Prepare a new run and its folder.

        Raises:
            ConfigurationError: there is a budget, but no price.
            DiskFull: there is no room for the folder.
        """
        require_prices(settings, budget)
        now = dt.datetime.now(dt.UTC)
        request = Request(run_id, tuple(archives), days, settings.layout, now, tuple(retry), budget)
        night = cls(settings, request)
        with clear_disk_errors(settings.home):
            night.folder.mkdir(parents=True)
            request.save(night.folder)
        return night

    @classmethod
    def load(cls, settings: Settings, run_id: str) -> Self:
        """Go on with a run that was prepared."""
        return cls(settings, Request.load(settings.runs / run_id))

    def part(self, run_id: str, days: Collection[dt.date]) -> Night:
        """Prepare a run over some days of this one's; it does not look into the archives again."""
        night = Night.new(self._settings, run_id, self._request.archives, frozenset(days))
        newest = newest_inventory(self._lake.storage).number
        self.inventory().share(self.folder, night.folder, newest)
        return night

    def seconds_for(self, stage: str) -> float | None:
        """How long a stage may take; None for as long as it likes."""
        return self._settings.stage_seconds(stage)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Leave in the run's folder what it ends with, unless that is well.

        Raises:
            Exception: what was raised inside, as people are told it.
        """
        for name in (ERROR, STOPPED):
            (self.folder / name).unlink(missing_ok=True)
        try:
            yield
        except Exception as raised:
            error = plain(raised, self._settings.home)
            self.failed(error)
            if error is raised:
                raise
            raise error from raised
        except BaseException as stopped:
            at = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S}"
            with contextlib.suppress(OSError):
                write_json(self.folder / STOPPED, {"at": at, "by": type(stopped).__name__})
            raise

    def failed(self, error: Exception) -> None:
        """Note what the run failed with."""
        # On a full disk not even this may find room; the exit code is said all the same.
        with contextlib.suppress(OSError):
            write_json(self.folder / ERROR, error_record(error))

    def repair(self) -> None:
        """Finish what a run that died after its commit had left to do."""
        settings = self._settings
        finish_publish(settings)
        if settings.online_url is None:
            finish_online(settings)
            return
        # A server's database is prepared by one run at a time: who holds the lease. If another
        # does, it leaves the store whole by itself.
        finish_online(settings, rebuild=False)
        if not is_behind(settings):
            return
        with (
            contextlib.suppress(LeaseHeld),
            Holder(self._lake.storage, self.run_id, settings.lease_seconds) as holder,
        ):
            holder.acquire(PUBLISH, above=self._lake.fence(PUBLISH))
            finish_online(settings)

    def inventory(self, progress: Callable[[int], None] | None = None) -> Found:
        """Find what the archives hold; a run looks once and keeps the answer in its folder."""
        self._found = self._found or Found.load(self.folder)
        if self._found is None:
            with self._timed("inventory"):
                self._found = self._look(progress)
        return self._found

    def _look(self, progress: Callable[[int], None] | None) -> Found:
        settings, storage = self._settings, self._lake.storage
        base = newest_inventory(storage)
        if self._request.retry:
            chosen = base.named(self._request.retry)
            taken = retry_inventory(chosen, settings.max_image_bytes)
        else:
            taken = take_inventory(
                self._request.archives,
                self._request.layout,
                base.known(),
                days=self._request.days,
                max_image_bytes=settings.max_image_bytes,
                rehash=settings.rehash,
                mark_emptied=settings.mark_emptied_archives,
                progress=progress,
            )
        saved = save_inventory(storage, base, taken.delta, taken.moved)
        return taken.save(self.folder, saved.number)

    def plan(self) -> int:
        """Divide what is new into shards of one day; returns the number of new images.

        Of a night with a budget, those of the days that it is expected to pay for.

        Raises:
            ConfigurationError: the budget pays for no day, or a kind of node has no price.
        """
        if not (self.folder / "plan.json").exists():
            with self._timed("plan"):
                found = self.inventory()
                plan_night(
                    self.folder,
                    self._lake,
                    load_inventory(self._lake.storage, found.saved),
                    pipeline_version(repository_of(self._settings)),
                    self._settings.shard_images,
                    scope=found.scope,
                    unseen=Found.unseen(self.folder),
                    days=self._request.days,
                    again=frozenset(self._request.retry),
                )
        if self._request.budget is not None and self._left.why is None:
            choice = choose_days(self._outlook.work(self._plan), self._request.budget, self._expect)
            self._leave([work.day for work in choice.left], "estimate")
        return self._plan.total

    def _expect(self, work: Sequence[DayWork]) -> Estimate:
        return self._outlook.expect(work, self._seconds())

    @cached_property
    def _outlook(self) -> Outlook:
        return Outlook(self._settings, self._lake, self._plan.pipeline_version)

    @property
    def _left(self) -> LeftDays:
        """What the budget left for another night."""
        return LeftDays.load(self.folder)

    def _leave(self, days: Collection[dt.date], why: str) -> None:
        """Take days out of the plan, whole; what is recorded of them is there for another run."""
        plan, left = self._plan, self._left
        images = Counter(dict(left.images))
        for shard in plan.shards:
            if shard.day in days:
                images[shard.day] += shard.images
        if days:
            plan.without(days).save_document(self.folder)
            self.__dict__.pop("_plan", None)
            self._journal.write(
                "budget",
                budget=self._request.budget,
                why=why,
                days_left=sorted(map(str, images)),
                images_left=images.total(),
            )
        # At last: before this is there, it is decided anew, over what the plan still has.
        LeftDays(dict(images), why).save(self.folder)

    def left(self) -> list[str]:
        """What the budget left for another night, for people: a line, or none."""
        return self._left.told(self._request.budget, self._settings.currency)

    def has_work(self) -> bool:
        """Whether there is an image to recognise or to mark, or another version to publish."""
        plan = self._plan
        current = self._lake.current()
        stale = current is not None and current.pipeline_version != plan.pipeline_version
        # A version of which the budget pays for no image yet is not published.
        stale = stale and not self._left.images
        return bool(plan.shards) or bool(plan.changes.marks.num_rows) or stale

    def waiting(self) -> dict[dt.date, int]:
        """Images to recognise by day; days on which only facts change are there with none."""
        images = dict.fromkeys(self._plan.touched_days, 0)
        for shard in self._plan.shards:
            images[shard.day] += shard.images
        return images

    def warnings(self) -> list[str]:
        """What a person should know although it is no error."""
        found = self.inventory()
        archives = ", ".join(self._request.archives)
        lines = [] if found.seen else [f"there is no image in {archives}"]
        return lines + [
            f"{archive} shows no image at all, but some are known there. Is its disk mounted? None "
            "of them is marked as deleted; if they are, run once with "
            "PLATEMILL_MARK_EMPTIED_ARCHIVES=true"
            for archive in found.emptied
        ]

    def recognise(self, progress: Callable[[JobProgress], None]) -> dict[str, int]:
        """Recognise every shard without a record in a Ray job; returns images by status.

        A night that has spent its budget leaves the days that are not done for another one.

        Raises:
            ServerUnavailable: Ray or Triton does not answer.
            ShardsIncomplete: the job ended before every shard was recorded.
        """
        plan = self._plan
        with self._timed("recognise"):
            self._try_again()
            recorded = self._lake.shards(shard.key for shard in plan.shards)
            if plan.shards:
                self._foretell()
            if not all(recorded.values()):
                run_recognition(self._settings, self.run_id, progress)
        if self._request.budget is not None:
            recorded = self._lake.shards(shard.key for shard in plan.shards)
            unfinished = {shard.day for shard in plan.shards if recorded[shard.key] is None}
            if unfinished:
                self._leave(unfinished, "spent")
        return _by_status(self._records())

    def _foretell(self) -> None:
        """Write down what is expected, under which prices, before money is spent on nodes."""
        work = self._outlook.work(self._plan)
        expected = self._expect(work)
        self._journal.write(
            "estimate",
            pipeline_version=self._plan.pipeline_version,
            images={str(day.day): day.images for day in work},
            private=is_private(self._settings),
            prices=expected.prices.to_json(),
            budget=self._request.budget,
            reserve=expected.reserve,
            expected=expected.expected(),
            rates=None if expected.rates is None else expected.rates.to_json(),
        )

    def _try_again(self) -> None:
        """Forget records of runs before that would keep images from another try."""
        found = self._lake.shards(shard.key for shard in self._plan.shards).values()
        earlier = [
            record for record in found if record is not None and record.run_id != self.run_id
        ]
        again = to_try_again(self._settings, self._lake, earlier, retry=bool(self._request.retry))
        for record, tried in again:
            write_tried(self.folder, tried)
            self._lake.forget_shard(record)

    def budget(self) -> None:
        """Stop a night that lost more images of a day than its error budget allows.

        A retry has no budget: its images are in quarantine already.

        Raises:
            CheckFailed: a day is over the budget; what was recognised is kept.
        """
        if not self._request.retry:
            check_budget(self._settings, self._lake, self._records(), self.folder)

    @contextmanager
    def holding(self, log: Callable[[str], object]) -> Iterator[None]:
        """Hold the leases of the days that have work, so that no other run recognises them, too.

        Waits for runs that hold them. If anybody published since the plan was made, it is made
        again, and may come out empty: ask ``has_work`` inside.

        Args:
            log: called with one line when it waits, and when it takes over from a dead run.

        Raises:
            LeaseHeld: another run had a day for longer than ``lease_wait_seconds``.
        """
        settings = self._settings
        with Holder(self._lake.storage, self.run_id, settings.lease_seconds) as holder:
            with WaitProgress() as progress:
                self._take_days(holder, log, progress.update)
            holder.tokens.save(self.folder)
            self._holder = holder
            try:
                yield
            finally:
                self._holder = None

    def _take_days(
        self, holder: Holder, log: Callable[[str], object], tick: Callable[[str], object]
    ) -> None:
        deadline = time.monotonic() + self._settings.lease_wait_seconds
        while True:
            # In sorted order, everybody: then nobody waits in a circle.
            current = self._lake.current()
            fences = {} if current is None else current.fences
            for name in self._day_leases():
                left = max(0.0, deadline - time.monotonic())
                holder.acquire(name, left, log, tick, above=fences.get(name, 0))
            if (self._plan.changes.base or 0) == max(self._lake.numbers(), default=0):
                return
            log("another run published since the plan was made; planning again")
            self._plan_again()
            wanted = set(self._day_leases())
            held = {lease.name for lease in holder.leases}
            for lease in holder.leases:
                if lease.name not in wanted or not wanted <= held:
                    lease.release()
            if wanted <= held:
                return

    def _day_leases(self) -> list[str]:
        return sorted({day_lease(day) for day in self._plan.touched_days})

    @contextmanager
    def publishing(self, log: Callable[[str], object]) -> Iterator[None]:
        """Hold the right to publish: from the facts to the pointers, one run at a time.

        Args:
            log: as for ``holding``, which has to be entered before.

        Raises:
            LeaseHeld: somebody else published for longer than ``lease_wait_seconds``.
        """
        holder = self._held()
        with WaitProgress() as progress:
            wait = self._settings.lease_wait_seconds
            above = self._lake.fence(PUBLISH)
            lease = holder.acquire(PUBLISH, wait, log, progress.update, above=above)
        try:
            yield
        finally:
            lease.release()

    def facts(self) -> list[dt.date]:
        """Merge the shards into the day files; returns the days that changed."""
        with self._timed("facts"):
            self._draft = merge_facts(
                self._settings,
                self._records(),
                run_id=self.run_id,
                pipeline_version=self._plan.pipeline_version,
                planned=self._plan.changes,
                fences=self._held().tokens.tokens,
            )
        return sorted(self._draft.days)

    def tiles(self) -> int:
        """Rebuild the dirty tiles; returns the number of changed days."""
        with self._timed("tiles"):
            self._draft = build_tiles(self._settings, self._drafted())
        return len(self._draft.days)

    def checks(self) -> list[dict[str, Any]]:
        """Check the draft and keep what was found in it; returns a row a check.

        The rows are in ``checks.parquet`` of the run's folder, too, whatever they say.

        Raises:
            CheckFailed: a blocking check failed; nothing is published.
        """
        with self._timed("checks"):
            draft = self._drafted()
            results = run_checks(self._settings, draft, self._expected(), self.folder)
            self._draft = record_results(self._settings, draft, results)
        rows: list[dict[str, Any]] = results.to_pylist()
        return rows

    def checked(self) -> list[dict[str, Any]]:
        """What the run's checks found when they last ran, also if they stopped the night."""
        report = self.folder / REPORT
        rows: list[dict[str, Any]] = pq.read_table(report).to_pylist() if report.exists() else []
        return rows

    def _expected(self) -> Iterator[pa.Table]:
        """``uri, day, deleted_at`` of what the run found on the days whose facts it may change.

        A table a day, so that a backfill of years is never in memory at once.
        """
        found, asked = self.inventory(), self._request
        inventory = load_inventory(self._lake.storage, found.saved)
        unseen = Found.unseen(self.folder)["uri"]
        days = {*self._plan.touched_days, *self._drafted().days} - self._left.images.keys()
        for day in sorted(days if asked.days is None else days & asked.days):
            rows = inventory.read(day, ["uri", "day", "deleted_at"])
            if asked.retry:
                wanted: Any = pc.is_in(rows["uri"], value_set=pa.array(asked.retry, pa.string()))
            else:
                gone = pc.is_in(rows["uri"], value_set=unseen)
                wanted = pc.and_not(pa.array(found.scope.covers(rows["uri"])), gone)
            yield rows.filter(wanted)

    def features(
        self, progress: Callable[[OnlineProgress], object] | None = None
    ) -> dict[str, int]:
        """Stage the online store; returns rows written and compared.

        Args:
            progress: called after each chunk of rows.
        """
        with self._timed("features"):
            staged = stage_online(self._settings, self._drafted(), progress=progress)
        # Once, before the commit: trying that again has to give the same manifest.
        self._draft = record_run_costs(self._settings, self._drafted())
        return {"written": staged.written, "compared": staged.compared}

    def publish(self) -> int:
        """Commit the generation and move the pointers; returns its number.

        Raises:
            GenerationConflict: another run published first.
            LeaseLost: another run took over from this one, which must not commit any more.
        """
        holder = self._held()
        with self._timed("publish"):
            try:
                generation = publish(self._settings, self._drafted(), holder.check)
            except GenerationConflict:
                holder.check()
                raise
            finish_online(self._settings)
        return generation.number

    def finish(self) -> dict[str, Any]:
        """Sum the night up, in its folder and as a value."""
        inventory = self.inventory()
        plan = self._plan
        records = self._records()
        seconds = self._seconds()
        busy = seconds.get("recognise", 0.0)
        summary: dict[str, Any] = {
            "run_id": self.run_id,
            "generation": self.generation(),
            "images_seen": inventory.seen,
            "images_new": plan.total,
            "images_deleted": plan.changes.deleted,
            "images_returned": plan.changes.returned,
            **_by_status(records),
            "plates": sum(record.plates for record in records),
            "images_per_second": round(plan.total / busy, 2) if busy else 0.0,
            **self._left.summary(),
            "costs": totals(rows_of_run(self._settings, self.folder)),
            "seconds": {**seconds, "total": round(self.elapsed(), 3)},
        }
        failpoint("night.summary.before")
        write_json(self.folder / SUMMARY, summary)
        if not plan.shards:
            # A night with nothing new leaves its summary alone, however large the archive is.
            for name in PLAN_FILES:
                (self.folder / name).unlink(missing_ok=True)
        return summary

    def generation(self) -> int | None:
        """The number of the newest generation; None before the first."""
        current = self._lake.current()
        return None if current is None else current.number

    def summary(self) -> dict[str, Any]:
        """What ``finish`` wrote."""
        read: dict[str, Any] = json.loads((self.folder / SUMMARY).read_text())
        return read

    @cached_property
    def _plan(self) -> Plan:
        return Plan.load(self.folder)

    def _records(self) -> list[ShardRecord]:
        records = self._lake.shards(shard.key for shard in self._plan.shards)
        missing = [key for key, record in records.items() if record is None]
        if missing:
            raise ShardsIncomplete(
                f"{len(missing)} of {len(records)} shards of run {self.run_id} have no record, "
                f"{missing[0]} for one; run again, the others are kept"
            )
        return [record for record in records.values() if record is not None]

    def _held(self) -> Holder:
        if self._holder is None:
            raise RuntimeError("holding() is to be entered before anything is published")
        return self._holder

    def _plan_again(self) -> None:
        (self.folder / "plan.json").unlink(missing_ok=True)
        LeftDays.forget(self.folder)
        self.__dict__.pop("_plan", None)
        self.plan()

    def _drafted(self) -> Draft:
        if self._draft is None:
            raise RuntimeError("facts() comes before the stages that read its draft")
        return self._draft

    def elapsed(self) -> float:
        """Seconds since it was asked for."""
        return (dt.datetime.now(dt.UTC) - self._request.started_at).total_seconds()

    def _seconds(self) -> dict[str, float]:
        path = self.folder / _SECONDS
        read: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        return read

    @cached_property
    def _attempts(self) -> Counter[str]:
        """How often each stage was tried, by whatever process."""
        tries = ("stage", "stage_failed")
        events = read_journal(self.folder)
        return Counter(event["stage"] for event in events if event["event"] in tries)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start, began = time.monotonic(), dt.datetime.now(dt.UTC)
        self._attempts[stage] += 1
        failure: dict[str, str] = {}
        try:
            yield
        except BaseException as error:
            failure = error_record(error)
            raise
        finally:
            passed = time.monotonic() - start
            seconds = self._seconds()
            spent = seconds.get(stage, 0.0) + passed
            self._journal.write(
                "stage_failed" if failure else "stage",
                stage=stage,
                began=began,
                ended=dt.datetime.now(dt.UTC),
                seconds=round(passed, 3),
                attempt=self._attempts[stage],
                **failure,
            )
            write_json(self.folder / _SECONDS, {**seconds, stage: round(spent, 3)})


def _by_status(records: Sequence[ShardRecord]) -> dict[str, int]:
    """Images of some shards by their status."""
    return {
        status.value: sum(record.counts.get(status.value, 0) for record in records)
        for status in ImageStatus
    }
