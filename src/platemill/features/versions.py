"""Every version of a table's rows that a generation knows. Knows nothing of Feast.

A row that was corrected keeps its older version in a history file of its partition, and a key that
lost its row leaves a tombstone there: a row of nulls (docs/adr/0041-tiles-that-remember.md). A
table that is derived from another has the versions that follow from that one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from platemill.lake import FileEntry, Generation, Lake
from platemill.schema import TABLES, Column, Table, TrailingWindow
from platemill.warehouse.draft import period_end
from platemill.warehouse.duck import rows_of, text_literal
from platemill.warehouse.sql_files import derived_sql

__all__ = ["identified_rows", "never_null", "stored_table", "version_files", "version_rows"]

_LONGEST = timedelta(days=max(TrailingWindow))


def stored_table(table: Table) -> Table:
    """The table whose files hold a table's rows: itself, or what it is derived from."""
    return TABLES[table.derived_from or table.name]


def version_files(
    generation: Generation,
    table: Table,
    first: datetime | None = None,
    last: datetime | None = None,
) -> list[FileEntry]:
    """The files of a table's rows, current and superseded, in the order of their partitions.

    Args:
        generation: whose files.
        table: a tile table, or one derived from it.
        first: leave out partitions whose rows have all expired then.
        last: leave out partitions whose rows are all later.
    """
    entries: list[FileEntry] = []
    name = stored_table(table).name
    shown, past = generation.partitions(name), generation.history.get(name, {})
    for start in sorted(shown.keys() | past.keys()):
        if _matters(table, start, first, last):
            entries += [shown[start]] if start in shown else []
            entries += past.get(start, ())
    return entries


def version_rows(
    lake: Lake,
    table: Table,
    files: Sequence[FileEntry],
    sql: Path,
    pipeline_version: str,
    *,
    only: str = "true",
) -> str:
    """A SELECT of all versions of a pipeline version's rows, in the schema's columns.

    Args:
        lake: where the files are.
        table: the table.
        files: what ``version_files`` said.
        sql: the folder of the SQL files.
        pipeline_version: a model's rows are never mixed with another's.
        only: a condition that stored rows have to meet.

    Raises:
        ConfigurationError: the SQL file of a derived table cannot be read.
    """
    stored = stored_table(table)
    rows = (
        f"FROM ({rows_of(lake, stored, files)}) "
        f"WHERE pipeline_version = {text_literal(pipeline_version)} AND {only}"
    )
    return rows if table.derived_from is None else derived_sql(sql, table, rows, current=False)


def identified_rows(lake: Lake, table: Table, files: Sequence[FileEntry]) -> str:
    """A SELECT of stored rows with an ``id``, a whole number that is the same in every statement.

    Args:
        lake: where the files are.
        table: a table that has files.
        files: some of them, at least one.
    """
    columns = ", ".join(f'"{name}"' for name in table.arrow.names)
    listed = ", ".join(
        text_literal(str(path)) for path in lake.storage.locate_all([e.path for e in files])
    )
    return (
        f"SELECT {columns}, file_index::BIGINT * 4294967296 + file_row_number AS id "
        f"FROM read_parquet([{listed}], hive_partitioning = false)"
    )


def never_null(table: Table) -> Column:
    """A feature that only a tombstone lacks."""
    return next(column for column in table.features if not column.nullable)


def _matters(table: Table, start: date, first: datetime | None, last: datetime | None) -> bool:
    # A row's event time is in its period, or the midnight that ends it.
    stored = stored_table(table)
    if last is not None and start > last.date():
        return False
    if first is None or table.ttl is None or stored.period is None:
        return True
    # A window that still answers reaches back once more.
    reach = table.ttl + (_LONGEST if table.derived_from else timedelta(0))
    return period_end(stored.period, start) + reach >= first.date()
