"""Generations of tile versions that are made up, and what a join should find in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from platemill.lake import FileEntry, Generation, Lake
from platemill.lake.files import write_parquet
from platemill.schema import SCHEMA_VERSION, TABLES, Period, Table
from platemill.warehouse.draft import period_end
from platemill.warehouse.tiles import history_schema

PIPELINE = "p1"
FAR = datetime(2099, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """What was said of a key and a period at a time; no value: that there is no row any more."""

    key: str
    start: date
    created: datetime
    value: int | None
    pipeline: str = PIPELINE

    def event(self, table: Table) -> datetime:
        assert table.period is not None
        end = period_end(table.period, self.start)
        return datetime(end.year, end.month, end.day, tzinfo=UTC)


def some_value(arrow: pa.DataType, number: int) -> Any:
    """Some value of a type that tells a number."""
    if pa.types.is_list(arrow):
        return [some_value(arrow.value_type, number), some_value(arrow.value_type, number + 1)]
    if pa.types.is_string(arrow):
        return f"text-{number}"
    if pa.types.is_timestamp(arrow):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
    if pa.types.is_date(arrow):
        return date(2026, 1, 1)
    return number


def row_of(table: Table, version: Version) -> dict[str, Any]:
    known = {
        table.entity: version.key,
        table.partition: version.start,
        "pipeline_version": version.pipeline,
        "event_timestamp": version.event(table),
        "created_timestamp": version.created,
    }
    return {
        column.name: known[column.name]
        if column.name in known
        else None
        if version.value is None
        else some_value(column.type, version.value)
        for column in table.columns
    }


def publish_versions(lake: Lake, tables: Mapping[str, Iterable[Version]]) -> Generation:
    """Publish tables that hold some versions; the last of each key and period is current."""
    parent = lake.current()
    number = 1 if parent is None else parent.number + 1
    shown: dict[str, dict[date, FileEntry]] = {}
    past: dict[str, dict[date, tuple[FileEntry, ...]]] = {}
    for name, versions in tables.items():
        table = TABLES[name]
        kept = list(versions)
        last: dict[tuple[str, date, str], Version] = {}
        for version in sorted(kept, key=lambda v: v.created):
            last[version.key, version.start, version.pipeline] = version
        current = [version for version in last.values() if version.value is not None]
        older = [version for version in kept if version not in current]
        shown[name] = {
            start: entry
            for start, (entry,) in _write(lake, table, "tiles", number, current).items()
        }
        past[name] = _write(lake, table, "history", number, older)
    manifest = Generation(
        number,
        None if parent is None else parent.number,
        f"made-{number}",
        FAR + timedelta(seconds=number),
        PIPELINE,
        SCHEMA_VERSION,
        shown,
        past,
    )
    return lake.commit(manifest)


def _write(
    lake: Lake, table: Table, what: str, number: int, versions: Sequence[Version]
) -> dict[date, tuple[FileEntry, ...]]:
    schema = table.arrow if what == "tiles" else history_schema(table)
    files = {}
    for start in {version.start for version in versions}:
        rows = [row_of(table, version) for version in versions if version.start == start]
        # A name has the publish token of its writer: here the generation's number.
        place = f"{what}/{table.name}/{table.partition}={start.isoformat()}/{number:08d}-"
        batches = pa.Table.from_pylist(rows, schema=schema).to_batches()
        entry = write_parquet(lake.storage, place, schema, batches)
        assert entry is not None
        files[start] = (entry,)
    return files


def brute_force(
    table: Table,
    versions: Iterable[Version],
    key: str | None,
    moment: datetime | None,
    *,
    corrected_past: bool = False,
    pipeline: str = PIPELINE,
) -> int | None:
    """What Feast's point-in-time join is meant to find, by looking at every version."""
    if key is None or moment is None:
        return None
    assert table.ttl is not None
    known = [
        version
        for version in versions
        if version.key == key
        and version.pipeline == pipeline
        and version.event(table) <= moment <= version.event(table) + table.ttl
        and (corrected_past or version.created <= moment)
    ]
    best = max(known, key=lambda v: (v.event(table), v.created), default=None)
    return None if best is None else best.value


def brute_force_windows(
    versions: Iterable[Version], key: str | None, moment: datetime | None, *, corrected_past: bool
) -> dict[int, list[Version]] | None:
    """The days in each of a plate's trailing windows, by length, as they were known; or nothing.

    A row stands at each day on which a day enters or leaves a window, and answers for 90 days.
    """
    if key is None or moment is None:
        return None
    table = TABLES["plate_trailing_v1"]
    assert table.ttl is not None
    own = [v for v in versions if v.key == key and v.pipeline == PIPELINE]
    known = [v for v in own if corrected_past or v.created <= moment]
    points = {v.start + timedelta(days=days) for v in own for days in (0, 7, 28, 90)}
    rows = [
        point
        for point in points
        if _midnight_after(point) <= moment
        and any(timedelta(0) <= point - v.start <= timedelta(days=90) for v in known)
    ]
    as_of = max(rows, default=None)
    if as_of is None or _midnight_after(as_of) + table.ttl < moment:
        return None
    newest: dict[date, Version] = {}
    for version in sorted(known, key=lambda v: v.created):
        newest[version.start] = version
    return {
        days: [
            v
            for v in newest.values()
            if v.value is not None and timedelta(0) <= as_of - v.start < timedelta(days=days)
        ]
        for days in (7, 28, 90)
    }


def _midnight_after(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def first_days(table: Table, around: date) -> list[date]:
    """The first days of three periods that follow one another."""
    assert table.period is not None
    first = {
        Period.DAY: around,
        Period.WEEK: around - timedelta(days=around.weekday()),
        Period.MONTH: around.replace(day=1),
    }[table.period]
    days = [first]
    for _ in range(2):
        days.append(period_end(table.period, days[-1]))
    return days
