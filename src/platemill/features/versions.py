"""Every version of a table's rows that a generation knows. Knows nothing of Feast.

A row that was corrected keeps its older version in a history file of its partition, and a key that
lost its row leaves a tombstone there: a row of nulls (docs/adr/0041-tiles-that-remember.md).
"""

from __future__ import annotations

from datetime import date, datetime

from platemill.lake import FileEntry, Generation
from platemill.schema import Column, Table
from platemill.warehouse.draft import period_end

__all__ = ["never_null", "version_files"]


def version_files(
    generation: Generation,
    table: Table,
    first: datetime | None = None,
    last: datetime | None = None,
) -> list[FileEntry]:
    """The files of a table's rows, current and superseded, in the order of their partitions.

    Args:
        generation: whose files.
        table: a tile table.
        first: leave out partitions whose rows have all expired then.
        last: leave out partitions whose rows are all later.
    """
    entries: list[FileEntry] = []
    shown, past = generation.partitions(table.name), generation.history.get(table.name, {})
    for start in sorted(shown.keys() | past.keys()):
        if _matters(table, start, first, last):
            entries += [shown[start]] if start in shown else []
            entries += past.get(start, ())
    return entries


def never_null(table: Table) -> Column:
    """A feature that only a tombstone lacks."""
    return next(column for column in table.features if not column.nullable)


def _matters(table: Table, start: date, first: datetime | None, last: datetime | None) -> bool:
    # A row's event time is in its period, or the midnight that ends it.
    if last is not None and start > last.date():
        return False
    if first is None or table.ttl is None or table.period is None:
        return True
    return period_end(table.period, start) + table.ttl >= first.date()
