"""Tiles that are made up, in a home of their own: late, corrected and deleted ones among them.

Shared by benchmarks that need the tiles of a year and not the nights that led to them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa

from platemill.lake import FileEntry, Generation, Lake
from platemill.lake.files import write_parquet
from platemill.schema import SCHEMA_VERSION, TABLES, Table
from platemill.warehouse.tiles import history_schema

PIPELINE = "p1"
FIRST = date(2026, 1, 1)
DAYS = 365

# What is in the tables ``seen`` (plate, day) and ``version`` (key, start, number, times).
SEEN = """
CREATE TEMP TABLE seen AS
SELECT DISTINCT format('A{:03d}AA{:03d}', p // 1000, p % 1000) AS plate,
    $first::DATE + (hash(p, n) % $days)::INTEGER AS start
FROM range($plates) a(p), range($each) b(n)
"""
# Of a hundred rows five are known late, five are corrected later, one of these is deleted.
VERSIONS = """
CREATE OR REPLACE TEMP TABLE version AS
WITH period AS (
    SELECT DISTINCT plate AS key, date_trunc($period, start)::DATE AS start FROM seen
), known AS (
    SELECT key, start,
        (start + CASE $period WHEN 'day' THEN INTERVAL 1 DAY WHEN 'week' THEN INTERVAL 7 DAY
            ELSE INTERVAL 1 MONTH END) AT TIME ZONE 'UTC' AS event_timestamp,
        hash(key, start, $period) AS h,
        event_timestamp + INTERVAL 3 HOUR
            + CASE WHEN h % 100 < 5 THEN to_days((1 + h % 40)::INTEGER) ELSE INTERVAL 0 DAY END
            AS created_timestamp
    FROM period
)
SELECT key, start, 0 AS number, event_timestamp, created_timestamp, h % 100 NOT BETWEEN 50 AND 54
    AS current FROM known
UNION ALL
SELECT key, start, 1, event_timestamp, created_timestamp + to_days((1 + h % 60)::INTEGER),
    h % 100 <> 54 FROM known WHERE h % 100 BETWEEN 50 AND 54
"""


def column_sql(name: str, arrow: pa.DataType) -> str:
    """Some value of a type, always the same for a row."""
    mixed = f"hash(key, start, number, '{name}')"
    if pa.types.is_list(arrow):
        return f"list_transform(range(24), lambda i: ({mixed} % (i + 2))::BIGINT)"
    if pa.types.is_string(arrow):
        return f"'camera-' || {mixed} % 40"
    if pa.types.is_timestamp(arrow):
        return f"event_timestamp - to_seconds(({mixed} % 86400)::INTEGER)"
    if pa.types.is_floating(arrow):
        return f"({mixed} % 10000 / 10000)::{'FLOAT' if pa.types.is_float32(arrow) else 'DOUBLE'}"
    if pa.types.is_decimal(arrow):
        return f"({mixed} % 1000)::DECIMAL({arrow.precision},{arrow.scale})"
    return f"({mixed} % 1000)::{'INTEGER' if pa.types.is_int32(arrow) else 'BIGINT'}"


def make_tiles(lake: Lake, tables: list[str], plates: int, each: int) -> dict[str, int]:
    """Publish one generation of plate tiles: ``each`` sightings of every plate over a year.

    Returns:
        Rows a table, all versions.
    """
    made: dict[str, int] = {}
    shown: dict[str, dict[date, FileEntry]] = {}
    past: dict[str, dict[date, tuple[FileEntry, ...]]] = {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        given = {"first": FIRST, "days": DAYS, "plates": plates, "each": each}
        connection.execute(SEEN, given)
        for name in tables:
            table = TABLES[name]
            connection.execute(VERSIONS, {"period": str(table.period)})
            (made[name],) = connection.execute("SELECT count(*) FROM version").fetchone()
            shown[name], past[name] = _write_table(connection, lake, table)
    end = datetime.fromisoformat(f"{FIRST + timedelta(days=2 * DAYS)}T03:00:00+00:00")
    lake.commit(Generation(1, None, "made", end, PIPELINE, SCHEMA_VERSION, shown, past))
    return made


def _write_table(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: Table
) -> tuple[dict[date, FileEntry], dict[date, tuple[FileEntry, ...]]]:
    known = {
        table.entity: f'key AS "{table.entity}"',
        table.partition: f'start AS "{table.partition}"',
        "pipeline_version": f"'{PIPELINE}' AS pipeline_version",
        "event_timestamp": "event_timestamp",
        "created_timestamp": "created_timestamp",
    }
    values = {c.name: f'{column_sql(c.name, c.type)} AS "{c.name}"' for c in table.columns}
    rows = ", ".join(known.get(name, sql) for name, sql in values.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE made AS SELECT {rows}, number, current, start AS part, "
        "key AS k FROM version ORDER BY start, key"
    )
    columns = ", ".join(f'"{name}"' for name in table.arrow.names)
    # A deleted row's last version has a key, two times, and nothing else.
    kept = {*table.key, "event_timestamp", "created_timestamp"}
    erased = ", ".join(
        f'"{name}"' if name in kept else f'CASE WHEN number = 0 THEN "{name}" END AS "{name}"'
        for name in table.arrow.names
    )
    starts = [row[0] for row in connection.execute("SELECT DISTINCT part FROM made").fetchall()]
    shown, past = {}, {}
    for start in sorted(starts):
        place = f"{table.name}/{table.partition}={start.isoformat()}/00000000-"
        for what, schema, sql in (
            ("tiles", table.arrow, f"SELECT {columns} FROM made WHERE part = $1 AND current"),
            (
                "history",
                history_schema(table),
                f"SELECT {erased} FROM made WHERE part = $1 AND NOT current",
            ),
        ):
            found = connection.sql(f"{sql} ORDER BY k, number", params=[start])
            entry = write_parquet(lake.storage, f"{what}/{place}", schema, found.to_arrow_reader())
            if entry is not None and what == "tiles":
                shown[start] = entry
            elif entry is not None:
                past[start] = (entry,)
    return shown, past
