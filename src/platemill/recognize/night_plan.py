"""A night's plan from what the lake knows: days whose digests agree are passed over unread.

The saved inventory says what the archives hold, the current generation what is done. Both keep a
digest a day. A day that differs is read and compared row by row, one day at a time, so that memory
holds a day however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.archive.scope import Scope
from platemill.lake import FileEntry, Lake
from platemill.lake.identity import IDENTITY, DayDigest
from platemill.lake.inventory import DayEntry, SavedInventory
from platemill.recognize.plan import DayPlan, Plan, plan_day, waiting_of, write_plan
from platemill.schema import IMAGES, INVENTORY
from platemill.warehouse.facts import MARKS, PlannedChanges

__all__ = ["plan_night", "waiting_by_day"]

_DONE: Final = (*IDENTITY, "reason", "attempts", "deleted_at", "pipeline_version")
_DONE_SCHEMA: Final = pa.schema([IMAGES.arrow.field(name) for name in _DONE])
_LOST: Final = pa.schema([INVENTORY.arrow.field(name) for name in ("uri", "deleted_at")])
_NOTHING: Final = DayDigest().hexdigest()


def plan_night(
    folder: Path,
    lake: Lake,
    inventory: SavedInventory,
    pipeline_version: str,
    shard_images: int,
    *,
    scope: Scope,
    unseen: pa.Table | None = None,
    days: frozenset[date] | None = None,
    again: frozenset[str] = frozenset(),
) -> Plan:
    """Choose what a night recognises, divide it into shards, and write the plan into its folder.

    What is done is as ``plan.make_plan`` says. Besides, the plan tells which days lose rows of
    images that are on another day now, also days outside of ``days``, and which images of ``days``
    were deleted or are back.

    Args:
        folder: the run's folder.
        lake: what is done.
        inventory: what the archives hold.
        pipeline_version: what the images will be recognised with.
        shard_images: most images in a shard.
        scope: where the run looked: nothing else is recognised.
        unseen: ``uri`` of images there that it did not see: they are not recognised either.
        days: only images of these UTC days; None: of all.
        again: if there are any, exactly these URIs are planned, wherever they lie and though they
            are done.

    Raises:
        ConfigurationError: the lake was written with another schema.
        RetryableError: the inventory has been superseded many times.
    """
    base = lake.current()
    files = {} if base is None else base.partitions(IMAGES.name)
    notes = _Notes()

    def planned() -> Iterator[DayPlan]:
        for day in sorted(inventory.days.keys() | files.keys()):
            is_wanted = days is None or day in days
            saved, entry = inventory.days.get(day), files.get(day)
            if not is_wanted and entry is None:
                continue
            if not again and _agree(saved, entry, pipeline_version):
                continue
            rows, recorded = _rows(inventory, lake, day, entry, again)
            done = recorded.filter(pc.equal(recorded["pipeline_version"], pipeline_version))
            notes.left(day, rows, done)
            if not is_wanted:
                continue
            if not again:
                notes.mark(day, rows, recorded)
                rows = rows.filter(pa.array(scope.covers(rows["uri"])))
                if unseen is not None and unseen.num_rows:
                    gone = pc.is_in(rows["uri"], value_set=unseen["uri"])
                    rows = rows.filter(pc.invert(gone))
            waiting = waiting_of(rows, done, again)
            if waiting.num_rows:
                yield plan_day(waiting, day, pipeline_version, shard_images)

    shards, groups = write_plan(folder, planned())
    changes = PlannedChanges(
        base=None if base is None else base.number,
        left=frozenset(notes.left_days),
        marks=notes.marks(),
    )
    plan = Plan(shards, groups, pipeline_version, changes, inventory.number)
    plan.save_document(folder)
    return plan


def waiting_by_day(lake: Lake, inventory: SavedInventory, pipeline_version: str) -> dict[date, int]:
    """Images that a night over all archives would recognise, by day; days without are left out."""
    base = lake.current()
    files = {} if base is None else base.partitions(IMAGES.name)
    waiting = {}
    for day, saved in sorted(inventory.days.items()):
        if _agree(saved, files.get(day), pipeline_version):
            continue
        rows, recorded = _rows(inventory, lake, day, files.get(day), frozenset())
        done = recorded.filter(pc.equal(recorded["pipeline_version"], pipeline_version))
        count = waiting_of(rows, done).num_rows
        if count:
            waiting[day] = count
    return waiting


def _agree(saved: DayEntry | None, entry: FileEntry | None, pipeline_version: str) -> bool:
    """Whether a day's facts say of its images what the inventory says."""
    there = _NOTHING if saved is None else saved.digest
    if entry is None:
        return there == _NOTHING
    return entry.digest == f"{pipeline_version}:{there}"


def _rows(
    inventory: SavedInventory,
    lake: Lake,
    day: date,
    entry: FileEntry | None,
    uris: frozenset[str],
) -> tuple[pa.Table, pa.Table]:
    """A day's inventory and facts; of these URIs alone, if there are any."""
    names = [name for name in INVENTORY.arrow.names if name != "archive_stamp"]
    rows = inventory.read(day, names)
    recorded = _DONE_SCHEMA.empty_table()
    if entry is not None:
        path = lake.storage.locate(entry.path)
        recorded = pq.read_table(path, columns=list(_DONE), partitioning=None).cast(_DONE_SCHEMA)
    if uris:
        wanted = pa.array(sorted(uris), pa.string())
        rows = rows.filter(pc.is_in(rows["uri"], value_set=wanted))
        recorded = recorded.filter(pc.is_in(recorded["uri"], value_set=wanted))
    return rows, recorded


@dataclass
class _Notes:
    """What a plan learns of the facts on its way from day to day."""

    left_days: set[date] = field(default_factory=set)
    _marks: list[pa.Table] = field(default_factory=list)
    _strays: list[pa.Table] = field(default_factory=list)
    _lost: list[pa.Table] = field(default_factory=list)

    def left(self, day: date, rows: pa.Table, done: pa.Table) -> None:
        """Note a day that has rows of images which the inventory does not have on it."""
        if not pc.all(pc.is_in(done["uri"], value_set=rows["uri"])).as_py() and done.num_rows:
            self.left_days.add(day)

    def mark(self, day: date, rows: pa.Table, recorded: pa.Table) -> None:
        """Note a day's images that are deleted, or back, since the facts were written.

        Args:
            day: the day.
            rows: its inventory.
            recorded: its facts, of every pipeline version.
        """
        known = recorded.select(["uri", "deleted_at"])
        place: Any = pc.index_in(known["uri"], value_set=rows["uri"])
        now = rows["deleted_at"].take(place)
        found = pc.is_valid(place)
        differs = pc.not_equal(pc.is_valid(now), pc.is_valid(known["deleted_at"]))
        self._add(day, known["uri"], now, pc.and_(found, differs))
        unmarked = pc.and_(pc.invert(found), pc.is_null(known["deleted_at"]))
        stray = known.filter(unmarked).select(["uri"])
        if stray.num_rows:
            days = pa.array([day] * stray.num_rows, pa.date32())
            self._strays.append(stray.append_column("day", days))
        never = pc.invert(pc.is_in(rows["uri"], value_set=known["uri"]))
        lost = rows.filter(pc.and_(pc.is_valid(rows["deleted_at"]), never))
        if lost.num_rows:
            self._lost.append(lost.select(_LOST.names))

    def marks(self) -> pa.Table:
        """``MARKS``, each day and URI once."""
        if self._strays and self._lost:
            # On a day that it left before it was recognised on its new one, and deleted since.
            strays, lost = pa.concat_tables(self._strays), pa.concat_tables(self._lost)
            place: Any = pc.index_in(strays["uri"], value_set=lost["uri"])
            gone = lost["deleted_at"].take(place)
            table = pa.Table.from_arrays(
                [strays["day"], strays["uri"], gone], names=MARKS.names
            ).filter(pc.is_valid(place))
            self._marks.append(table.cast(MARKS))
        tables = pa.concat_tables([MARKS.empty_table(), *self._marks])
        return (
            tables.group_by(["day", "uri"])
            .aggregate([("deleted_at", "max")])
            .rename_columns(["day", "uri", "deleted_at"])
            .select(MARKS.names)
            .cast(MARKS)
            .sort_by([("day", "ascending"), ("uri", "ascending")])
        )

    def _add(self, day: date, uris: Any, deleted_at: Any, wanted: Any) -> None:
        table = pa.Table.from_arrays(
            [pa.array([day] * len(uris), pa.date32()), uris, deleted_at], names=MARKS.names
        ).filter(wanted)
        if table.num_rows:
            self._marks.append(table.cast(MARKS))
