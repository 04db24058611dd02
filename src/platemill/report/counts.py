"""What came to a night and what became of it, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from platemill.archive.inventory import Found
from platemill.lake import Generation, ShardRecord
from platemill.launch.outlook import LeftDays
from platemill.recognize.plan import Plan
from platemill.report.rows import NightRows
from platemill.report.tallies import Came, CameRow, Done, DoneRow, Late, LateDay, Quarantined
from platemill.schema import CONFIDENCE_BINS, IMAGES, TILES

__all__ = ["CAMERAS_SHOWN", "DAYS_SHOWN", "came", "done", "found_by", "late"]

DAYS_SHOWN: Final = 31
"""Days that a table shows, the newest; the others are added up in a line."""

CAMERAS_SHOWN: Final = 12
"""Cameras that a table shows, those with the most images."""

_EXAMPLES: Final = 3
_KINDS: Final = ("new", "changed", "again")
_COUNTED: Final = ("recognised", "no_plate", "quarantined", "plates")


def found_by(folder: Path) -> Came:
    """What the inventory of a run found, without its plan."""
    found = Found.load(folder)
    left = {str(day): images for day, images in sorted(LeftDays.load(folder).images.items())}
    if found is None:
        return Came(left=left)
    return Came(
        seen=found.seen,
        postponed=found.postponed,
        deleted=found.deleted,
        returned=found.returned,
        emptied=found.emptied,
        planned=(folder / "plan.json").exists(),
        left=left,
    )


def came(found: Came, plan: Plan, rows: NightRows) -> Came:
    """What the inventory found, with what of it was planned, by day and by camera."""
    days: dict[str, CameRow] = {}
    cameras: list[CameRow] = []
    for row in rows.ask("came"):
        new, changed, again = (row[kind] if rows.knows_before else None for kind in _KINDS)
        name = str(row["day"]) if row["day"] is not None else row["camera_id"]
        made = CameRow(name, row["images"], row["bytes"], new, changed, again)
        if row["day"] is None:
            cameras.append(made)
        else:
            days[name] = made
    none = 0 if rows.knows_before else None
    for day, (deleted, returned) in _marks(plan).items():
        known = days.get(day, CameRow(day, 0, 0, none, none, none))
        days[day] = replace(known, deleted=deleted, returned=returned)
    shown = sorted(days)[-DAYS_SHOWN:]
    cells = rows.ask(
        "cells",
        days=[date.fromisoformat(day) for day in shown],
        cameras=[row.name for row in cameras[:CAMERAS_SHOWN]],
    )
    return replace(
        found,
        days=tuple(days[day] for day in sorted(days)),
        cameras=tuple(cameras),
        cells={(str(cell["day"]), cell["camera_id"]): cell["images"] for cell in cells},
    )


def _marks(plan: Plan) -> Mapping[str, tuple[int, int]]:
    """Images that were marked as deleted, and those that are back, by day."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    marks = plan.changes.marks
    for day, at in zip(marks["day"].to_pylist(), marks["deleted_at"].to_pylist(), strict=True):
        counts[str(day)][at is None] += 1
    return {day: (deleted, returned) for day, (deleted, returned) in counts.items()}


def done(rows: NightRows, *, personal: bool) -> Done:
    """What was recognised, by day, and why images could not be used.

    Args:
        rows: the night's.
        personal: also read examples, whose names may point at a person.
    """
    if rows.records is None:
        days = [DoneRow(**row) for row in rows.ask("done")]
    else:
        days = _recorded(rows.records)
    bins = [0] * CONFIDENCE_BINS
    well_formed = 0
    for row in rows.ask("confidence", bins=CONFIDENCE_BINS):
        bins[row["bin"]] = row["plates"]
        well_formed += row["well_formed"]
    quarantined = [
        Quarantined(
            row["reason"],
            row["stage"] or "",
            row["images"],
            tuple((one["uri"], one["detail"] or "") for one in row["examples"]),
        )
        for row in rows.ask("quarantined", examples=_EXAMPLES if personal else 0)
    ]
    looked_at = None
    if rows.records is not None and rows.shown < len(rows.records):
        looked_at = (rows.shown, len(rows.records))
    return Done(tuple(days), well_formed, tuple(bins), tuple(quarantined), looked_at)


def _recorded(records: Sequence[ShardRecord]) -> list[DoneRow]:
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for record in records:
        counts[record.day].update(record.counts)
        counts[record.day]["plates"] += record.plates
    return [DoneRow(day, *(counts[day][name] for name in _COUNTED)) for day in sorted(counts)]


def late(
    arrived: Came,
    started: date,
    generation: Generation | None,
    base: Generation | None,
    *,
    is_first: bool,
) -> Late:
    """What a night changed of days that readers had been shown, or that are older.

    Args:
        arrived: what came.
        started: the UTC day of the run's beginning.
        generation: what it published; None: nothing.
        base: the generation before; None: there was none, or it is gone.
        is_first: there was none.
    """
    if base is None:
        return Late(is_first=is_first)
    before = base.partitions(IMAGES.name)
    newest = max(before, default=None)
    after = {} if generation is None else generation.partitions(IMAGES.name)
    days = []
    for row in reversed(arrived.days):
        day = date.fromisoformat(row.name)
        fresh = row.images if row.new is None else row.new + (row.changed or 0)
        if newest is None or day > newest or not (fresh or row.deleted or row.returned):
            continue
        rows = [files[day].rows if day in files else None for files in (before, after)]
        days.append(LateDay(day, (started - day).days, fresh, row.deleted, *rows))
    return Late(base.number, newest, tuple(days), _remade(generation, base))


def _remade(generation: Generation | None, base: Generation) -> dict[str, tuple[int, int]]:
    """Tile table → partitions that differ from the base's, and all that there are."""
    if generation is None:
        return {}
    found = {}
    for table in TILES:
        before, after = base.partitions(table.name), generation.partitions(table.name)
        changed = sum(not entry.same_rows(before.get(day)) for day, entry in after.items())
        found[table.name] = (changed, len(after))
    return found
