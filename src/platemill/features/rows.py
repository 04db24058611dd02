"""Which rows the online store should hold: the latest tile of each key. Knows nothing of Feast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

import duckdb
import pyarrow as pa

from platemill.lake import FileEntry, Generation, Lake
from platemill.schema import Table
from platemill.warehouse.duck import create_view

__all__ = [
    "Difference",
    "changed_keys",
    "changed_rows",
    "difference",
    "entity_fields",
    "gone_keys",
    "latest_rows",
    "make_latest",
    "online_columns",
    "sampled_rows",
]

_KEYS = "changed_keys"

Difference = Mapping[date, tuple[FileEntry | None, FileEntry | None]]
"""Partition → its file before and after, None where it has none; only those that differ."""


def online_columns(table: Table) -> list[str]:
    """The columns that the online store is given: key, features and the two times."""
    assert table.entity is not None
    return [table.entity, *table.feature_names, "event_timestamp", "created_timestamp"]


def difference(
    table: Table, before: Mapping[date, FileEntry], after: Mapping[date, FileEntry]
) -> Difference:
    """The partitions of a table whose rows differ between two states of it."""
    found: dict[date, tuple[FileEntry | None, FileEntry | None]] = {}
    for start in sorted({*before, *after}):
        old, new = before.get(start), after.get(start)
        if old is None or not old.same_rows(new):
            found[start] = (old, new)
    return found


def make_latest(
    connection: duckdb.DuckDBPyConnection, lake: Lake, generation: Generation, table: Table
) -> int:
    """Make the table of the row that answers for each key: the latest of the served pipeline.

    A period that has begun and is not over is the latest too: who looks a plate up at noon wants
    this morning's sightings of the week, not only last week's. Rows lie in the order of the keys
    that the online store has (``encode_entity_keys``): by the key's length, then by its bytes. What
    does not fit into DuckDB's memory is spilt.

    Returns:
        How many keys there are.
    """
    create_view(connection, lake, table, generation.partitions(table.name).values())
    columns = ", ".join(f'"{name}"' for name in online_columns(table))
    key = f'"{table.entity}"'
    # Two columns of all periods are aggregated; whole rows are read of the newest only.
    ((count,),) = connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {_latest(table)} AS
        WITH newest AS (
            SELECT {key}, max(event_timestamp) AS event_timestamp FROM "{table.name}"
            WHERE pipeline_version = $version GROUP BY ALL
        )
        SELECT {columns} FROM "{table.name}" SEMI JOIN newest USING ({key}, event_timestamp)
        WHERE pipeline_version = $version
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY "{table.partition}" DESC) = 1
        ORDER BY {_key_order(key)}
        """,
        {"version": generation.pipeline_version},
    ).fetchall()
    return int(count)


def changed_keys(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    differences: Iterable[Difference],
) -> int:
    """Make the table ``changed_keys`` of the keys that have another row in any of the differences.

    Returns:
        How many there are.
    """
    connection.execute(f'CREATE OR REPLACE TEMP TABLE {_KEYS} ("{table.entity}" VARCHAR)')
    for changed in differences:
        before = [old for old, _ in changed.values() if old is not None]
        after = [new for _, new in changed.values() if new is not None]
        create_view(connection, lake, table, before, name="rows_before")
        create_view(connection, lake, table, after, name="rows_after")
        connection.execute(
            f'INSERT INTO {_KEYS} SELECT DISTINCT "{table.entity}" FROM ('
            "(FROM rows_before EXCEPT ALL FROM rows_after) UNION ALL "
            "(FROM rows_after EXCEPT ALL FROM rows_before)) "
            f'ANTI JOIN {_KEYS} USING ("{table.entity}")'
        )
    ((count,),) = connection.execute(f"SELECT count(*) FROM {_KEYS}").fetchall()
    return int(count)


def latest_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, *, chunk: int, after: int = 0
) -> Iterator[pa.RecordBatch]:
    """The rows that ``make_latest`` made, in their order, ``chunk`` at a time.

    Args:
        connection: where that table is.
        table: a table with an entity.
        chunk: rows of a batch; only the last has fewer.
        after: rows to leave out, from the first.
    """
    return _batches(connection, table, f"FROM {_latest(table)} OFFSET {after}", chunk)


def changed_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, *, chunk: int, after: int = 0
) -> Iterator[pa.RecordBatch]:
    """Those of ``latest_rows`` whose keys are in ``changed_keys``; always in the same order."""
    key = f'"{table.entity}"'
    chosen = (
        f"FROM {_latest(table)} SEMI JOIN {_KEYS} USING ({key}) "
        f"ORDER BY {_key_order(key)} OFFSET {after}"
    )
    return _batches(connection, table, chosen, chunk)


def sampled_rows(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    *,
    rows: int,
    least: int,
    salt: int,
    chunk: int,
) -> Iterator[pa.RecordBatch]:
    """A stratified sample of ``latest_rows``, in their order.

    A stratum is a month of event times: of rows that one period made. Of each the same share is
    taken, and at least ``least`` rows, so that a rare one is looked at, too.

    Args:
        connection: where that table is.
        table: a table with an entity.
        rows: about how many rows the sample has.
        least: rows of every stratum, if it has so many.
        salt: another salt is another sample.
        chunk: rows of a batch, at most.
    """
    key = f'"{table.entity}"'
    columns = ", ".join(f'"{name}"' for name in online_columns(table))
    chosen = (
        f"FROM (SELECT *, date_trunc('month', event_timestamp) AS stratum, hash({key}, {salt}) AS "
        f"place FROM {_latest(table)} QUALIFY row_number() OVER (PARTITION BY stratum ORDER BY "
        f"place, {key}) <= greatest({least}, ceil({rows} * count(*) OVER (PARTITION BY stratum) / "
        f"(SELECT count(*) FROM {_latest(table)})))) ORDER BY {_key_order(key)}"
    )
    return _batches(connection, table, f"SELECT {columns} {chosen}", chunk)


def gone_keys(connection: duckdb.DuckDBPyConnection, table: Table) -> list[str]:
    """The changed keys that have no row left. To be called after both tables are made."""
    found = connection.execute(
        f'SELECT "{table.entity}" FROM {_KEYS} ANTI JOIN {_latest(table)} '
        f'USING ("{table.entity}") ORDER BY 1'
    ).fetchall()
    return [key for (key,) in found]


def entity_fields(
    connection: duckdb.DuckDBPyConnection, fields: Sequence[tuple[Table, int]], *, chunk: int
) -> Iterator[pa.RecordBatch]:
    """How many fields each key of one entity should have online, over all of its views.

    Args:
        connection: where the tables of ``make_latest`` are.
        fields: the entity's views, and how many fields a row of each is.
        chunk: rows of a batch, at most.

    Returns:
        Batches of the key and ``fields``, int64.
    """
    parts = " UNION ALL ".join(
        f'SELECT "{table.entity}" AS key, {count} AS fields FROM {_latest(table)}'
        for table, count in fields
    )
    counted = connection.sql(
        f"SELECT key, sum(fields)::BIGINT AS fields FROM ({parts}) GROUP BY key"
    )
    yield from counted.to_arrow_reader(chunk)


def _latest(table: Table) -> str:
    return f'"latest_{table.name}"'


def _key_order(key: str) -> str:
    """The order of serialised entity keys: a length in four bytes, the lowest first, and a text."""
    return f"strlen({key}) % 256, strlen({key}) // 256 % 256, strlen({key}) // 65536, {key}"


def _batches(
    connection: duckdb.DuckDBPyConnection, table: Table, query: str, chunk: int
) -> Iterator[pa.RecordBatch]:
    """A query's rows, cut into batches of just ``chunk`` rows, as the schema types them."""
    schema = pa.schema([table.arrow.field(name) for name in online_columns(table)])
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in connection.sql(query).to_arrow_reader(chunk):
        held.append(batch)
        rows += batch.num_rows
        while rows >= chunk:
            whole = pa.concat_batches(held)
            yield whole.slice(0, chunk).cast(schema)
            held, rows = [whole.slice(chunk)], rows - chunk
    if rows:
        yield pa.concat_batches(held).cast(schema)
