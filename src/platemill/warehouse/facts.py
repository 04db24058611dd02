"""Staged rows of shards become the day files of ``images`` and ``recognitions``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from platemill.errors import ConfigurationError
from platemill.failpoints import failpoint
from platemill.lake import FileEntry, Generation, Lake, ShardRecord, open_lake
from platemill.lake.files import write_parquet
from platemill.lake.identity import DayDigest
from platemill.schema import FACTS, IMAGES, SCHEMA_VERSION, Table
from platemill.settings import Settings
from platemill.warehouse.draft import NO_FENCES, Draft, time_after
from platemill.warehouse.duck import connect, create_view

__all__ = ["MARKS", "Draft", "PlannedChanges", "merge_facts"]

_BATCH_ROWS = 65_536
_MARK_FIELDS: Final[list[Any]] = [
    pa.field("day", pa.date32(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("deleted_at", IMAGES.column("deleted_at").type),
]
MARKS: Final = pa.schema(_MARK_FIELDS)


@dataclass(frozen=True, eq=False)
class PlannedChanges:
    """What a plan knows of the facts besides its shards.

    Attributes:
        base: the generation that was planned against; None for none.
        left: days of it that may hold rows of images that are on another day now.
        marks: ``MARKS``, images that were deleted, or (null) are in their archive again.
    """

    base: int | None = None
    left: frozenset[date] = frozenset()
    marks: pa.Table = field(default_factory=MARKS.empty_table)

    @property
    def deleted(self) -> int:
        """Images that are marked as deleted."""
        return int(self.marks.num_rows - self.marks["deleted_at"].null_count)

    @property
    def returned(self) -> int:
        """Images whose mark is taken away."""
        return int(self.marks["deleted_at"].null_count)


def merge_facts(
    settings: Settings,
    shards: Iterable[ShardRecord],
    *,
    run_id: str,
    pipeline_version: str,
    planned: PlannedChanges | None = None,
    fences: Mapping[str, int] = NO_FENCES,
    now: datetime | None = None,
) -> Draft:
    """Merge a run's shards into the newest generation's facts, and begin the next generation.

    A day's new file holds the rows of its old file, less those of images that are in the shards
    under the same pipeline version, and the shards' rows. So an image is there once however often
    it was recognised, and a file that moved to another day leaves the day it was on. To be called
    by the holder of the publish lease: what it builds on must still be the newest at the commit.

    Args:
        settings: where the lake is, and DuckDB's limits.
        shards: records of the run's finished shards; none is fine.
        run_id: the run that publishes.
        pipeline_version: the version whose rows are served online from now on.
        planned: what the plan knows besides; default: nothing, so that every day is searched for
            rows of the shards' images.
        fences: the run's leases, lease → token.
        now: the time of the new generation; default: the clock's, moved on if the clock went back.
    """
    lake = open_lake(settings)
    records = sorted(shards, key=lambda record: record.key)
    parent = lake.current()
    at = time_after(parent, now or datetime.now(UTC))
    draft = _begin(parent, records, run_id, pipeline_version, fences, at)
    marks = MARKS.empty_table() if planned is None else planned.marks
    if not records and not marks.num_rows:
        return draft
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        _replaced_images(connection, lake, records)
        connection.register("marks", marks)
        days = {record.day for record in records} | set(marks["day"].unique().to_pylist())
        if records:
            days |= _left_days(connection, lake, parent, planned)
        for table in FACTS:
            files = {}
            for day in sorted(days):
                prefix = draft.generation.prefix(f"{table.name}/day={day.isoformat()}")
                here = [record for record in records if record.day == day]
                before = draft.before(table.name, day)
                failpoint("facts.day.before")
                files[day] = _merge_day(
                    connection, lake, table, before, here, day, prefix, pipeline_version
                )
                failpoint("facts.day.after")
            draft = draft.with_files(table.name, files)
    dirty = sorted({day for table in FACTS for day in draft.changed[table.name]})
    return replace(draft, days=tuple(dirty))


def _begin(
    parent: Generation | None,
    records: Sequence[ShardRecord],
    run_id: str,
    pipeline_version: str,
    fences: Mapping[str, int],
    now: datetime,
) -> Draft:
    generation = Generation(
        number=1 if parent is None else parent.number + 1,
        parent=None if parent is None else parent.number,
        run_id=run_id,
        created_at=now,
        pipeline_version=pipeline_version,
        schema_version=SCHEMA_VERSION,
        tables={} if parent is None else parent.tables,
        history={} if parent is None else parent.history,
        shards=tuple(record.key for record in records),
        fences={**({} if parent is None else parent.fences), **fences},
    )
    return Draft(generation, parent)


def _replaced_images(
    connection: duckdb.DuckDBPyConnection, lake: Lake, records: Sequence[ShardRecord]
) -> None:
    """Make the table ``replaced`` of the images that the shards speak of."""
    _show(connection, lake, IMAGES, "staged_images", _staged(lake, IMAGES, records))
    connection.execute(
        "CREATE TEMP TABLE replaced AS SELECT DISTINCT uri, pipeline_version FROM staged_images"
    )


def _left_days(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    parent: Generation | None,
    planned: PlannedChanges | None,
) -> set[date]:
    """Days on which the parent may have rows of the replaced images: a time may have changed.

    The plan knows them of the generation that it was made against. What was published since is
    known by its files.
    """
    if parent is None:
        return set()
    files = parent.partitions(IMAGES.name)
    if planned is not None:
        base = _base_files(lake, parent, planned.base)
        if base is not None:
            since = {day for day, entry in files.items() if not entry.same_rows(base.get(day))}
            return (set(planned.left) & files.keys()) | since
    _show(connection, lake, IMAGES, "recorded", list(files.values()))
    found = connection.execute(
        "SELECT DISTINCT day FROM recorded SEMI JOIN replaced USING (uri, pipeline_version)"
    ).fetchall()
    return {day for (day,) in found}


def _base_files(
    lake: Lake, parent: Generation, base: int | None
) -> Mapping[date, FileEntry] | None:
    """The files that a plan was made against; None if their manifest is gone."""
    if base == parent.number:
        return parent.partitions(IMAGES.name)
    if base is None:
        return {}
    try:
        return lake.generation(base).partitions(IMAGES.name)
    except ConfigurationError:
        return None


def _merge_day(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    before: FileEntry | None,
    records: Sequence[ShardRecord],
    day: date,
    prefix: str,
    pipeline_version: str,
) -> FileEntry | None:
    _show(connection, lake, table, "before", [before] if before else [])
    _show(connection, lake, table, "staged", _staged(lake, table, records))
    stays = "before ANTI JOIN replaced USING (uri, pipeline_version)"
    parameters: dict[str, object] = {}
    if table is IMAGES:
        names = ", ".join(f"b.{name}" for name in table.arrow.names if name != "deleted_at")
        stays = (
            f"(SELECT {names}, CASE WHEN m.uri IS NULL THEN b.deleted_at ELSE m.deleted_at END "
            "AS deleted_at FROM before AS b LEFT JOIN (SELECT * FROM marks WHERE day = $day) AS m "
            "ON m.uri = b.uri) ANTI JOIN replaced USING (uri, pipeline_version)"
        )
        parameters = {"day": day}
    columns = ", ".join(table.arrow.names)
    rows = connection.sql(
        f"SELECT {columns} FROM {stays} UNION ALL SELECT {columns} FROM staged "
        f"ORDER BY {', '.join(table.key)}",
        params=parameters,
    )
    reader = rows.to_arrow_reader(_BATCH_ROWS)
    if table is not IMAGES:
        return write_parquet(lake.storage, prefix, table.arrow, reader, before=before)
    digest = DayDigest()
    batches = _digested(reader, digest, pipeline_version)
    entry = write_parquet(lake.storage, prefix, table.arrow, batches, before=before)
    if entry is None:
        return None
    return replace(entry, digest=f"{pipeline_version}:{digest.hexdigest()}")


def _digested(
    batches: Iterable[pa.RecordBatch], digest: DayDigest, pipeline_version: str
) -> Iterator[pa.RecordBatch]:
    """The batches, of whose rows those of a pipeline version are added to a digest."""
    for batch in batches:
        whole = batch.cast(IMAGES.arrow)
        digest.add(whole.filter(pc.equal(whole["pipeline_version"], pipeline_version)), "reason")
        yield whole


def _staged(lake: Lake, table: Table, records: Sequence[ShardRecord]) -> list[FileEntry]:
    """The shards' staged files of a table; an attempt without rows may have written none."""
    paths = [
        record.images_path if table is IMAGES else record.recognitions_path for record in records
    ]
    return [FileEntry(path, 0, 0) for path in paths if path]


def _show(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    name: str,
    files: Sequence[FileEntry],
) -> None:
    create_view(connection, lake, table, files, name=name)
