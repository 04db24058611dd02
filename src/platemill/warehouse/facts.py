"""Staged rows of shards become the day files of ``images`` and ``recognitions``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb

from platemill.lake import FileEntry, Generation, Lake, ShardRecord
from platemill.lake.files import write_parquet
from platemill.schema import FACTS, IMAGES, SCHEMA_VERSION, Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import connect, create_view

__all__ = ["Draft", "merge_facts"]

_BATCH_ROWS = 65_536


def merge_facts(
    settings: Settings,
    shards: Iterable[ShardRecord],
    *,
    run_id: str,
    pipeline_version: str,
    now: datetime | None = None,
) -> Draft:
    """Merge a run's shards into the newest generation's facts, and begin the next generation.

    A day's new file holds the rows of its old file, less those of images that are in the shards
    under the same pipeline version, and the shards' rows. So an image is there once however often
    it was recognised, and a file that moved to another day leaves the day it was on. To be called
    by the holder of the publish lock: what it builds on must still be the newest at the commit.

    Args:
        settings: where the lake is, and DuckDB's limits.
        shards: records of the run's finished shards; none is fine.
        run_id: the run that publishes.
        pipeline_version: the version whose rows are served online from now on.
        now: the time of the new generation; default: the clock's, moved on if the clock went back.
    """
    lake = Lake(settings.lake)
    records = sorted(shards, key=lambda record: record.key)
    parent = lake.current()
    draft = _begin(parent, records, run_id, pipeline_version, now or datetime.now(UTC))
    if not records:
        return draft
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        _replaced_images(connection, lake, records)
        days = sorted({record.day for record in records} | _left_days(connection, lake, parent))
        for table in FACTS:
            files = {
                day: _merge_day(
                    connection,
                    lake,
                    table,
                    draft.before(table.name, day),
                    [record for record in records if record.day == day],
                    day,
                )
                for day in days
            }
            draft = draft.with_files(table.name, files)
    dirty = sorted({day for table in FACTS for day in draft.changed[table.name]})
    return replace(draft, days=tuple(dirty))


def _begin(
    parent: Generation | None,
    records: Sequence[ShardRecord],
    run_id: str,
    pipeline_version: str,
    now: datetime,
) -> Draft:
    if parent is not None:
        # Later than the parent even if the clock went back: what is known, is known in order.
        now = max(now, parent.created_at + timedelta(microseconds=1))
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
    connection: duckdb.DuckDBPyConnection, lake: Lake, parent: Generation | None
) -> set[date]:
    """Days on which the parent has rows of the replaced images: a file's time may have changed."""
    if parent is None:
        return set()
    _show(connection, lake, IMAGES, "recorded", list(parent.partitions(IMAGES.name).values()))
    found = connection.execute(
        "SELECT DISTINCT day FROM recorded SEMI JOIN replaced USING (uri, pipeline_version)"
    ).fetchall()
    return {day for (day,) in found}


def _merge_day(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    before: FileEntry | None,
    records: Sequence[ShardRecord],
    day: date,
) -> FileEntry | None:
    _show(connection, lake, table, "before", [before] if before else [])
    _show(connection, lake, table, "staged", _staged(lake, table, records))
    rows = connection.sql(
        "SELECT * FROM before ANTI JOIN replaced USING (uri, pipeline_version) "
        "UNION ALL SELECT * FROM staged "
        f"ORDER BY {', '.join(table.key)}"
    )
    folder = f"{table.name}/day={day.isoformat()}/"
    return write_parquet(lake.storage, folder, table.arrow, rows.to_arrow_reader(_BATCH_ROWS))


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
