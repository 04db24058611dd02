"""Tiles from SQL files: only the periods that a changed day lies in, and only what differs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import duckdb
import pyarrow as pa

from platemill.errors import CheckFailed
from platemill.failpoints import failpoint
from platemill.lake import FileEntry, Lake, open_lake
from platemill.lake.files import write_parquet
from platemill.schema import TILES, Period, Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft, period_end, periods_of
from platemill.warehouse.duck import connect, create_view, mentioned
from platemill.warehouse.sql_files import read_sql

__all__ = ["build_tiles", "history_schema"]

_BATCH_ROWS = 65_536
_KNOWN = "created_timestamp"


def history_schema(table: Table) -> pa.Schema:
    """A history file's schema: a tombstone has a key and two times, and nulls for the rest."""
    kept = {*table.key, "event_timestamp", _KNOWN}
    return pa.schema([field.with_nullable(field.name not in kept) for field in table.arrow])


def build_tiles(settings: Settings, draft: Draft) -> Draft:
    """Recompute every tile whose period holds a changed day.

    A row that comes out as it was keeps its ``created_timestamp``, and a partition without a
    difference keeps its file. A row that was already complete and comes out differently, or not
    at all, moves to the tile's history, so that a training set that is rebuilt afterwards can
    still be told what was known at the time.

    Raises:
        CheckFailed: a tile cannot be computed from the facts, a confidence that is no number say.
        ConfigurationError: an SQL file is missing.
    """
    lake = open_lake(settings)
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        for table in TILES:
            if table.period is None:
                raise TypeError(f"{table.name} is in TILES and has no period")
            query = read_sql(settings.sql, table.name, "query.sql")
            files: dict[date, FileEntry | None] = {}
            history: dict[date, FileEntry] = {}
            for start in periods_of(table.period, draft.days):
                try:
                    compute_tile(connection, lake, draft, table, query, start)
                except duckdb.Error as error:
                    raise CheckFailed(
                        f"{table.name} of {start} cannot be computed, nothing was published: "
                        f"{error}"
                    ) from error
                failpoint("tiles.period.before")
                files[start] = _write(connection, lake, draft, table, start)
                failpoint("tiles.period.after")
                gone = _write_history(connection, lake, draft, table, start)
                failpoint("tiles.history.after")
                if gone is not None:
                    history[start] = gone
            draft = draft.with_files(table.name, files).with_history(table.name, history)
    return draft


def compute_tile(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    draft: Draft,
    table: Table,
    query: str,
    start: date,
) -> None:
    """Make the table ``fresh`` of a tile's rows, from the partitions inside its period."""
    period = table.period or Period.DAY
    end = period_end(period, start)
    for source in mentioned(query):
        inside = _inside(draft.generation.partitions(source.name), start, end)
        create_view(connection, lake, source, inside)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE fresh AS {query}",
        {
            "period_start": start,
            "period_end": end,
            "created_timestamp": draft.generation.created_at,
        },
    )
    before = draft.before(table.name, start)
    create_view(connection, lake, table, [before] if before else [], name="before")


def _inside(files: Mapping[date, FileEntry], start: date, end: date) -> list[FileEntry]:
    return [entry for day, entry in sorted(files.items()) if start <= day < end]


def _write(
    connection: duckdb.DuckDBPyConnection, lake: Lake, draft: Draft, table: Table, start: date
) -> FileEntry | None:
    columns = ", ".join(
        f"coalesce(b.{_KNOWN}, f.{_KNOWN}) AS {_KNOWN}" if name == _KNOWN else f'f."{name}"'
        for name in table.arrow.names
    )
    order = ", ".join(f'f."{name}"' for name in table.key)
    rows = connection.sql(
        f"SELECT {columns} FROM fresh f LEFT JOIN before b ON {_same(table)} ORDER BY {order}"
    )
    prefix = draft.generation.prefix(f"tiles/{table.name}/{table.partition}={start.isoformat()}")
    return write_parquet(
        lake.storage,
        prefix,
        table.arrow,
        rows.to_arrow_reader(_BATCH_ROWS),
        before=draft.before(table.name, start),
    )


def _write_history(
    connection: duckdb.DuckDBPyConnection, lake: Lake, draft: Draft, table: Table, start: date
) -> FileEntry | None:
    """Keep the rows that are no longer true, and a tombstone for each key that has no row now.

    A row that is corrected before its period ends can never be seen by a point-in-time join,
    since the join looks at complete periods only: it is dropped. Without that a month tile would
    leave thirty versions behind.
    """
    if draft.before(table.name, start) is None:
        return None
    kept = {*table.key, "event_timestamp"}
    tombstone = ", ".join(
        f'b."{name}"' if name in kept else "$created" if name == _KNOWN else "NULL"
        for name in table.arrow.names
    )
    keys = " AND ".join(f'f."{name}" = b."{name}"' for name in table.key)
    rows = connection.sql(
        f"SELECT b.* FROM before b ANTI JOIN fresh f ON {_same(table)} "
        "WHERE b.event_timestamp < $created "
        f"UNION ALL SELECT {tombstone} FROM before b ANTI JOIN fresh f ON {keys} "
        "WHERE b.event_timestamp < $created "
        f"ORDER BY {', '.join(table.key)}, {_KNOWN}",
        params={"created": draft.generation.created_at},
    )
    folder = f"history/{table.name}/{table.partition}={start.isoformat()}"
    prefix = draft.generation.prefix(folder)
    return write_parquet(
        lake.storage, prefix, history_schema(table), rows.to_arrow_reader(_BATCH_ROWS)
    )


def _same(table: Table) -> str:
    """The condition that a fresh row says what the row before said."""
    return " AND ".join(
        f'f."{name}" IS NOT DISTINCT FROM b."{name}"'
        for name in table.arrow.names
        if name != _KNOWN
    )
