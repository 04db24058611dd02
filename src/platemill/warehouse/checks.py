"""The checks that a night passes before anybody sees it: SQL files beside the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from platemill.errors import CheckFailed
from platemill.lake import Lake, open_lake
from platemill.schema import FACTS, IMAGES, TILES, Period, Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft, period_end, period_start, periods_of
from platemill.warehouse.duck import connect, create_view, mentioned
from platemill.warehouse.sql_files import read_sql

__all__ = ["CHECK_RESULTS", "run_checks"]

_RESULT_FIELDS: list[pa.Field[Any]] = [
    pa.field("table", pa.string(), nullable=False),
    pa.field("check", pa.string(), nullable=False),
    pa.field("severity", pa.string(), nullable=False),
    pa.field("failed", pa.int64(), nullable=False),
    pa.field("detail", pa.string()),
]
CHECK_RESULTS = pa.schema(_RESULT_FIELDS)

_BLOCK = "block"


def run_checks(settings: Settings, draft: Draft, inventory: pa.Table) -> pa.Table:
    """Run every table's ``checks.sql`` over the partitions that a draft changes.

    Args:
        settings: where the lake and the SQL files are.
        draft: the generation to check; its tiles are built.
        inventory: ``uri, day, deleted_at`` of what this run found in the archives, on the days
            that it planned or that the draft changes; other days' rows do no harm.

    Returns:
        A row a check: table, check, severity (``block`` or ``warn``), rows that break it, and one
        of them as text.

    Raises:
        CheckFailed: a blocking check found rows; the text holds them.
    """
    lake = open_lake(settings)
    found: list[dict[str, object]] = []
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        connection.register("inventory", inventory.select(["uri", "day", "deleted_at"]))
        days = frozenset(inventory["day"].unique().to_pylist())
        for table in (*FACTS, *TILES):
            sql = read_sql(settings.sql, table.name, "checks.sql")
            _show_inside(connection, lake, draft, table, sql, days)
            found += _check(connection, settings, draft, table, sql)
    results = pa.Table.from_pylist(found, schema=CHECK_RESULTS)
    _raise_on_block(found, draft)
    return results


def _check(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    draft: Draft,
    table: Table,
    sql: str,
) -> list[dict[str, object]]:
    values = {
        "pipeline_version": draft.generation.pipeline_version,
        "run_id": draft.generation.run_id,
    }
    named = connection.extract_statements(sql)[0].named_parameters
    try:
        rows = connection.execute(sql, {name: values[name] for name in named}).fetchall()
    except duckdb.Error as error:
        raise CheckFailed(
            f"the checks of {table.name} cannot be run, nothing was published: {error}"
        ) from error
    return [dict(zip(CHECK_RESULTS.names, (table.name, *row), strict=True)) for row in rows]


def _show_inside(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    draft: Draft,
    table: Table,
    sql: str,
    found: frozenset[date],
) -> None:
    """Show the table's changed partitions, and of other tables what lies inside their periods.

    ``found``: the days that the inventory speaks of.
    """
    period = table.period or Period.DAY
    starts = set(periods_of(period, draft.days))
    for shown in {item.name: item for item in (table, *mentioned(sql))}.values():
        files = [
            entry
            for start, entry in sorted(draft.generation.partitions(shown.name).items())
            if _is_inside(shown, start, period) and period_start(period, start) in starts
        ]
        create_view(connection, lake, shown, files)
    if table is IMAGES:
        everything = draft.generation.partitions(IMAGES.name)
        create_view(connection, lake, IMAGES, everything.values(), name="recorded")
        told = [entry for day, entry in sorted(everything.items()) if day in found]
        create_view(connection, lake, IMAGES, told, name="told")


def _is_inside(shown: Table, start: date, period: Period) -> bool:
    own = shown.period or Period.DAY
    return period_end(own, start) <= period_end(period, period_start(period, start))


def _raise_on_block(found: Sequence[dict[str, object]], draft: Draft) -> None:
    failed = [row for row in found if row["failed"] and row["severity"] == _BLOCK]
    if not failed:
        return
    lines = [
        f"  {row['table']:<22} {row['check']:<26} {row['failed']:>8}  {row['detail']}"
        for row in failed
    ]
    raise CheckFailed(
        f"{len(failed)} checks failed, so run {draft.generation.run_id} was not published and "
        "readers still see the night before.\n"
        f"  {'table':<22} {'check':<26} {'rows':>8}  one of them\n" + "\n".join(lines)
    )
