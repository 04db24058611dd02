"""Which rows the online store should hold: the latest tile of each key. Knows nothing of Feast."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from platemill.lake import FileEntry, Generation, Lake
from platemill.schema import Table
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import create_view

__all__ = ["changed_keys", "latest_rows", "online_columns"]

_KEYS = "changed_keys"


def online_columns(table: Table) -> list[str]:
    """The columns that the online store is given: key, features and the two times."""
    assert table.entity is not None
    features = [column.name for column in table.features]
    return [table.entity, *features, "event_timestamp", "created_timestamp"]


def changed_keys(
    connection: duckdb.DuckDBPyConnection, lake: Lake, draft: Draft, table: Table
) -> int:
    """Make the table ``changed_keys`` of the entity keys whose rows a draft changes.

    Returns:
        How many there are.
    """
    starts = draft.changed.get(table.name, ())
    files = draft.generation.partitions(table.name)
    before = [entry for start in starts if (entry := draft.before(table.name, start))]
    after = [files[start] for start in starts if start in files]
    create_view(connection, lake, table, before, name="rows_before")
    create_view(connection, lake, table, after, name="rows_after")
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE {_KEYS} AS SELECT DISTINCT "{table.entity}" FROM ('
        "(FROM rows_before EXCEPT ALL FROM rows_after) UNION ALL "
        "(FROM rows_after EXCEPT ALL FROM rows_before))"
    )
    row = connection.execute(f"SELECT count(*) FROM {_KEYS}").fetchone()
    return int(row[0])


def latest_rows(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    generation: Generation,
    table: Table,
    *,
    only_changed: bool,
    chunk: int,
) -> Iterator[pa.RecordBatch]:
    """The row that answers for each key now: the latest period of the served pipeline version.

    A period that has begun and is not over is the latest too: who looks a plate up at noon wants
    this morning's sightings of the week, not only last week's. Rows come in the order of the key.

    Args:
        connection: where the table ``changed_keys`` is.
        lake: where the tiles are.
        generation: whose tiles.
        table: a table with an entity.
        only_changed: only the keys of the table ``changed_keys``.
        chunk: rows of a batch, at most.
    """
    files: list[FileEntry] = list(generation.partitions(table.name).values())
    create_view(connection, lake, table, files)
    columns = ", ".join(f'"{name}"' for name in online_columns(table))
    chosen = f'SEMI JOIN {_KEYS} USING ("{table.entity}")' if only_changed else ""
    rows = connection.sql(
        f'SELECT {columns} FROM "{table.name}" {chosen} WHERE pipeline_version = $version '
        f'QUALIFY row_number() OVER (PARTITION BY "{table.entity}" '
        f'ORDER BY event_timestamp DESC, "{table.partition}" DESC) = 1 '
        f'ORDER BY "{table.entity}"',
        params={"version": generation.pipeline_version},
    )
    schema = pa.schema([table.arrow.field(name) for name in online_columns(table)])
    for batch in rows.to_arrow_reader(chunk):
        for start in range(0, batch.num_rows, chunk):
            yield batch.slice(start, chunk).cast(schema)


def gone_keys(
    connection: duckdb.DuckDBPyConnection, generation: Generation, table: Table
) -> list[str]:
    """The changed keys that have no row left. To be called after ``latest_rows``' view is made."""
    found = connection.execute(
        f'SELECT "{table.entity}" FROM {_KEYS} ANTI JOIN '
        f'(SELECT "{table.entity}" FROM "{table.name}" WHERE pipeline_version = $version) '
        f'USING ("{table.entity}") ORDER BY 1',
        {"version": generation.pipeline_version},
    ).fetchall()
    return [key for (key,) in found]
