"""Looks a night up: its folder, the lake and the archive, as ``NightFacts``.

A page is wanted most when something is broken. So each part is read by itself, and one that cannot
be read is a sentence on the page, not the end of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.costs.actual import totals
from platemill.costs.history import rows_of_run
from platemill.errors import (
    CheckFailed,
    ConfigurationError,
    PlatemillError,
    RetryableError,
    error_from_record,
)
from platemill.journal import read_journal
from platemill.lake import Generation, Lake, open_lake
from platemill.launch.backfill import backfill_of
from platemill.launch.records import ERROR, REQUEST
from platemill.launch.run_state import standing
from platemill.launch.stages import Request
from platemill.recognize.plan import Plan
from platemill.report.contact import contact_sheet
from platemill.report.counts import came, done, found_by, late
from platemill.report.course import course
from platemill.report.facts import Asked, CheckRow, Failure, Models, NightFacts, PartRow, Photo
from platemill.report.models import models_of
from platemill.report.moments import Times
from platemill.report.rows import base_of, night_rows, published_by
from platemill.report.tallies import Came, Done, Late
from platemill.settings import Settings
from platemill.warehouse.checks import REPORT
from platemill.warehouse.facts import PlannedChanges

__all__ = ["gather", "newest_run"]

_Answer = TypeVar("_Answer")

_TROUBLES: Final = (
    PlatemillError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    duckdb.Error,
    pa.ArrowException,
)
_ENDED_WELL: Final = frozenset({"published", "nothing new", "budget spent"})
_RUN_AGAIN: Final = "Run again: what was recognised is kept and not paid for again."
_CURES: Final[tuple[tuple[type[PlatemillError], str], ...]] = (
    (
        CheckFailed,
        "Nothing was published, and readers see the night before. Look at what the checks found, "
        "mend it or allow it, and run again: what was recognised is kept.",
    ),
    (ConfigurationError, "Change what the text names, then run again."),
    (RetryableError, f"It may be gone the next time. {_RUN_AGAIN}"),
)


def newest_run(settings: Settings) -> str:
    """The run that was asked for last.

    Raises:
        ConfigurationError: there is none.
    """
    found = {request.parent.name for request in settings.runs.glob(f"*/{REQUEST}")}
    # A backfill stands for its parts.
    found -= {
        part.run_id
        for run_id in found
        if (backfill := backfill_of(settings.runs, run_id)) is not None
        for part in backfill.parts
    }
    if not found:
        raise ConfigurationError(
            f"there is no run in {settings.home}; `platemill run --home {settings.home}` makes one"
        )
    return max(found)


def gather(
    settings: Settings, run_id: str, *, photos: int, now: datetime | None = None
) -> NightFacts:
    """Look a run up, whether it published, failed, was killed or goes on.

    Args:
        settings: where the home and the models are.
        run_id: the run.
        photos: how many photos the contact sheet may have; 0: nothing personal is read.
        now: the time of the look; default: the clock's.

    Raises:
        ConfigurationError: there is no such run.
    """
    folder = settings.runs / run_id
    if not (folder / REQUEST).is_file():
        raise ConfigurationError(
            f"there is no run {run_id!r} in {settings.runs}; `platemill status --home "
            f"{settings.home}` lists them"
        )
    return _Look(settings, folder, photos, now or datetime.now(UTC)).facts()


@dataclass
class _Look:
    """One look at a run. ``notes``: what could not be read."""

    settings: Settings
    folder: Path
    wanted: int
    now: datetime
    notes: list[str] = field(default_factory=list)

    def facts(self) -> NightFacts:
        """All that can be read."""
        folder, settings = self.folder, self.settings
        request = self._try("What it was asked to do", lambda: Request.load(folder), None)
        how = self._try("How it ended", lambda: standing(folder), {"state": "unfinished"})
        goes_on = how["state"] == "running"
        events = read_journal(folder)
        times = self._try("Its course", lambda: course(events, self.now if goes_on else None), None)
        started = request.started_at if request else times.began if times else self.now
        found = self._try("What the inventory found", lambda: found_by(folder), Came())
        plan = self._plan()
        facts = _Rows(found)
        if plan is not None:
            self._try("The lake", lambda: self._rows(plan, how, facts, started), None)
        version = None if plan is None else plan.pipeline_version
        models = self._try(
            "Its models",
            lambda: models_of(settings, folder, version, facts.version_before),
            Models(version, facts.version_before),
        )
        costs = self._try("What it cost", lambda: totals(rows_of_run(settings, folder)), None)
        return NightFacts(
            run_id=folder.name,
            home=str(settings.home),
            made_at=self.now,
            state=how["state"],
            started_at=started,
            seconds=_seconds(how, times, started, self.now),
            failure=self._failure(how),
            generation=facts.generation,
            asked=_asked(request),
            parts=tuple(self._try("Its parts", self._parts, [])),
            came=facts.came,
            done=facts.done,
            times=times,
            costs=costs if costs and costs["stages"] else None,
            checks=tuple(self._try("What the checks found", self._checks, [])),
            late=facts.late,
            models=models,
            photos=facts.photos,
            photos_wanted=self.wanted,
            notes=tuple(self.notes),
        )

    def _try(self, what: str, look: Callable[[], _Answer], instead: _Answer) -> _Answer:
        try:
            return look()
        except _TROUBLES as error:
            first = (str(error).strip().splitlines() or [""])[0]
            self.notes.append(f"{what} could not be read: {type(error).__name__}: {first}")
            return instead

    def _plan(self) -> Plan | None:
        if not (self.folder / "plan.json").exists():
            return None
        if not (self.folder / "plan-shards.parquet").exists():
            # A night with nothing new keeps no plan: what there was is in its other documents.
            document = json.loads((self.folder / "plan.json").read_text())
            changes = PlannedChanges(base=document["generation"])
            return Plan((), [], document["pipeline_version"], changes)
        return self._try("Its plan", lambda: Plan.load(self.folder), None)

    def _rows(self, plan: Plan, how: dict[str, Any], facts: _Rows, started: datetime) -> None:
        """Fill in what the lake says."""
        lake = open_lake(self.settings)
        own = published_by(lake, self.folder.name, how.get("generation"))
        facts.generation = None if own is None else own.number
        source = own or self._instead(lake, plan, how)
        base = base_of(lake, plan.changes.base)
        before = base or (None if own is None else base_of(lake, own.parent))
        facts.version_before = None if before is None else before.pipeline_version
        with night_rows(self.settings, lake, self.folder, plan, source, base) as rows:
            facts.came = self._try("What came", lambda: came(facts.came, plan, rows), facts.came)
            facts.done = self._try(
                "What was done", lambda: done(rows, personal=self.wanted > 0), facts.done
            )
            facts.photos = self._try(
                "The contact sheet", lambda: contact_sheet(self.settings, rows, self.wanted), ()
            )
        if not rows.knows_before:
            self.notes.append(
                f"Generation {plan.changes.base}, which the plan was made against, was removed: "
                "which images were new cannot be told any more."
            )
        day = started.astimezone(UTC).date()
        is_first = plan.changes.base is None and (own is None or own.parent is None)
        facts.late = self._try(
            "Late days", lambda: late(facts.came, day, own, base, is_first=is_first), facts.late
        )

    def _instead(self, lake: Lake, plan: Plan, how: dict[str, Any]) -> Generation | None:
        """What shows the rows of a night whose own generation was removed."""
        if how["state"] != "published" or not plan.shards:
            return None
        newest = lake.current()
        if newest is not None and backfill_of(self.settings.runs, self.folder.name) is None:
            self.notes.append(
                f"The generation that it published was removed; its images are shown as "
                f"generation {newest.number} has them."
            )
        return newest

    def _parts(self) -> list[PartRow]:
        runs = self.settings.runs
        backfill = backfill_of(runs, self.folder.name)
        return [
            PartRow(
                run_id=row["run_id"],
                first=row["first_day"],
                last=row["last_day"],
                images=row["images"],
                state=row["state"],
                error=(row["error"] or "").partition("\n")[0],
            )
            for row in (backfill.rows(runs) if backfill is not None else ())
        ]

    def _failure(self, how: dict[str, Any]) -> Failure | None:
        text = how.get("error")
        if how["state"] in _ENDED_WELL or text is None:
            return None
        path = self.folder / ERROR
        if how["state"] == "failed" and path.exists():
            record = json.loads(path.read_text())
            error = error_from_record(record)
            cure = next((cure for kind, cure in _CURES if isinstance(error, kind)), _RUN_AGAIN)
            return Failure(record["error"], record["text"], cure)
        return Failure("", text.removesuffix(". Run again"), _RUN_AGAIN)

    def _checks(self) -> list[CheckRow]:
        path = self.folder / REPORT
        if not path.exists():
            return []
        rows = [
            CheckRow(
                row["table_name"],
                row["check_name"],
                row["severity"],
                row["failed"],
                row["value"],
                (row["detail"] or "") if self.wanted else "",
            )
            for row in pq.read_table(path).to_pylist()
        ]
        return sorted(rows, key=lambda row: ("stopped", "warning", "ok").index(row.result))


@dataclass
class _Rows:
    """What the lake says, filled in part by part."""

    came: Came
    done: Done = field(default_factory=Done)
    late: Late = field(default_factory=Late)
    photos: tuple[Photo, ...] = ()
    generation: int | None = None
    version_before: str | None = None


def _asked(request: Request | None) -> Asked:
    if request is None:
        return Asked()
    days = tuple(sorted(request.days or ()))
    return Asked(request.archives, days, request.layout, len(request.retry), request.budget)


def _seconds(
    how: dict[str, Any], times: Times | None, started: datetime, now: datetime
) -> float | None:
    if how["state"] == "running":
        return (now - started).total_seconds()
    if "seconds" in how:
        return float(how["seconds"])
    return None if times is None else times.seconds
