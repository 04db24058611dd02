"""The checks that a night passes before anybody sees it: SQL files beside the tables.

A table's ``checks.sql`` is one statement, or two. The first runs over the changed partitions, some
at a time, so that its memory does not grow with a backfill; the second runs once over all of them.
Each answers with a row a check: ``check_name, severity, failed, detail`` and, if it measures
something, ``value``. The views that it is given:

- the table itself and the tables that it mentions: what lies inside the changed periods; of a
  derived table a sample of keys, from these days alone;
- ``<table>_baseline``: the table's partitions of the 28 days before each changed one;
- for ``images``: ``inventory``, what the run found; ``told``, the generation's images of the days
  that the inventory speaks of; ``suspects``, on whatever day, the rows of images that are on a
  changed day now and were not on it in the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.errors import CheckFailed
from platemill.lake import FileEntry, Lake, open_lake
from platemill.schema import (
    CHECK_RESULTS,
    DERIVED,
    FACTS,
    IMAGES,
    TABLES,
    TILES,
    Period,
    Severity,
    Table,
)
from platemill.settings import Settings
from platemill.warehouse.draft import Draft, period_end, period_start, periods_of
from platemill.warehouse.duck import connect, create_view, mentioned, rows_of
from platemill.warehouse.sql_files import derived_sql, read_sql

__all__ = ["BASELINE_DAYS", "REPORT", "run_checks"]

BASELINE_DAYS: Final = 28
"""Days before a changed one that ``<table>_baseline`` shows."""

REPORT: Final = "checks.parquet"
"""The results of a run in its folder, published or not."""

_CHECKED: Final = (*FACTS, *TILES, *DERIVED)
# Rows that are shown to a statement at a time, unless a single period has more.
_ROWS_AT_A_TIME: Final = 5_000_000
# Keys for which a view over tiles is computed in its checks.
_SAMPLED_KEYS: Final = 1000


def run_checks(
    settings: Settings,
    draft: Draft,
    inventory: pa.Table | Iterable[pa.Table],
    folder: Path | None = None,
) -> pa.Table:
    """Run every table's ``checks.sql`` over the partitions that a draft changes.

    Args:
        settings: where the lake and the SQL files are.
        draft: the generation to check; its tiles are built.
        inventory: ``uri, day, deleted_at`` of what this run found in the archives, on the days
            that it planned or that the draft changes; other days' rows do no harm. In parts it
            need not fit into memory.
        folder: the run's; the results are written there whatever they say.

    Returns:
        A row a check, in the columns of ``check_results``.

    Raises:
        CheckFailed: a blocking check found rows; the text holds them.
    """
    lake = open_lake(settings)
    found: list[dict[str, Any]] = []
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        days = _load_inventory(connection, inventory)
        for table in _CHECKED:
            checks = _Checks(connection, lake, settings.sql, draft, table, days)
            found += checks.run()
    results = pa.Table.from_pylist(found, schema=CHECK_RESULTS.arrow)
    if folder is not None:
        pq.write_table(results, folder / REPORT)
    _raise_on_block(found, draft, folder)
    return results


@dataclass(frozen=True)
class _Checks:
    """The checks of one table. ``found``: the days that the inventory speaks of."""

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    folder: Path
    draft: Draft
    table: Table
    found: frozenset[date]

    def run(self) -> list[dict[str, Any]]:
        """A row a check."""
        sql = read_sql(self.folder, self.table.name, "checks.sql")
        over_parts, *over_all = self.connection.extract_statements(sql)
        results: dict[str, dict[str, Any]] = {}
        for starts in self._parts():
            self._show(starts, sql)
            for row in self._ask(over_parts):
                _merge(results, row)
        for statement in over_all:
            self._show(self._starts(), sql)
            for row in self._ask(statement):
                _merge(results, row)
        return list(results.values())

    def _ask(self, statement: Any) -> Iterator[dict[str, Any]]:
        generation = self.draft.generation
        values = {
            "pipeline_version": generation.pipeline_version,
            "checked_at": generation.created_at,
        }
        given = {name: values[name] for name in statement.named_parameters}
        try:
            answer = self.connection.execute(statement, given)
            names = [column[0] for column in answer.description]
            rows = answer.fetchall()
        except duckdb.Error as error:
            raise CheckFailed(
                f"the checks of {self.table.name} cannot be run, nothing was published: {error}"
            ) from error
        for row in rows:
            yield {
                "run_id": generation.run_id,
                "generation": generation.number,
                "checked_at": generation.created_at,
                "day": generation.created_at.date(),
                "table_name": self.table.name,
                "value": None,
                **dict(zip(names, row, strict=True)),
            }

    @property
    def _period(self) -> Period:
        return self._source.period or Period.DAY

    @property
    def _source(self) -> Table:
        """The table whose files it is about."""
        return TABLES[self.table.derived_from or self.table.name]

    def _starts(self) -> list[date]:
        days = set(self.draft.days) | (self.found if self.table is IMAGES else set())
        return periods_of(self._period, days)

    def _parts(self) -> Iterator[list[date]]:
        """The periods, as many at a time as their rows allow; one empty part if there is none."""
        part: list[date] = []
        rows = 0
        partitions = self.draft.generation.partitions(self._source.name)
        for start in self._starts():
            entry = partitions.get(start)
            size = 0 if entry is None else entry.rows
            if part and rows + size > _ROWS_AT_A_TIME:
                yield part
                part, rows = [], 0
            part.append(start)
            rows += size
        yield part

    def _show(self, starts: Sequence[date], sql: str) -> None:
        """Show what lies inside the changed ones of some periods."""
        changed = set(starts) & set(periods_of(self._period, self.draft.days))
        tables = (self._source, *(table for table in mentioned(sql) if not table.derived_from))
        for shown in {table.name: table for table in tables}.values():
            create_view(self.connection, self.lake, shown, self._inside(shown, changed))
        if self.table.derived_from is not None:
            self._show_derived(self.table.derived_from)
        if f"{self.table.name}_baseline" in sql:
            self._view("baseline", self._baseline(changed))
        if self.table is IMAGES:
            self._show_images(starts, changed)

    def _show_derived(self, source: str) -> None:
        """Show a derived table of some keys: what it says of a key follows from that key alone."""
        key = self.table.key[0]
        self.connection.execute(
            f'CREATE OR REPLACE TEMP TABLE sample AS SELECT "{key}" FROM "{source}" '
            f'GROUP BY "{key}" ORDER BY hash("{key}"), "{key}" LIMIT {_SAMPLED_KEYS}'
        )
        rows = f'SELECT * FROM "{source}" SEMI JOIN sample USING ("{key}")'
        view = derived_sql(self.folder, self.table, rows, current=False)
        self.connection.execute(f'CREATE OR REPLACE VIEW "{self.table.name}" AS {view}')

    def _show_images(self, starts: Sequence[date], changed: Iterable[date]) -> None:
        files = self.draft.generation.partitions(IMAGES.name)
        told = [files[day] for day in starts if day in files and day in self.found]
        create_view(self.connection, self.lake, IMAGES, told, name="told")
        dates = ", ".join(f"DATE '{day}'" for day in starts)
        self.connection.execute(
            "CREATE OR REPLACE VIEW inventory AS SELECT * FROM inventory_of_run "
            + (f"WHERE day IN ({dates})" if dates else "WHERE false")
        )
        key = "uri, pipeline_version"
        recorded = f"SELECT {key} FROM ({rows_of(self.lake, IMAGES, files.values())})"
        parent = self.draft.parent
        if parent is not None and parent.partitions(IMAGES.name):
            earlier = [self.draft.before(IMAGES.name, day) for day in sorted(changed)]
            before = rows_of(self.lake, IMAGES, [entry for entry in earlier if entry is not None])
            arrived = f"SELECT {key} FROM images ANTI JOIN ({before}) USING ({key}, day)"
            # By the ranges of row groups DuckDB reads little of the files for a few images.
            recorded += f" SEMI JOIN ({arrived}) USING ({key})"
        self.connection.execute(f"CREATE OR REPLACE VIEW suspects AS {recorded}")

    def _view(self, name: str, files: Iterable[FileEntry]) -> None:
        create_view(self.connection, self.lake, self.table, files, name=f"{self.table.name}_{name}")

    def _inside(self, shown: Table, starts: set[date]) -> list[FileEntry]:
        own = shown.period or Period.DAY
        return [
            entry
            for start, entry in sorted(self.draft.generation.partitions(shown.name).items())
            if period_start(self._period, start) in starts
            and period_end(own, start)
            <= period_end(self._period, period_start(self._period, start))
        ]

    def _baseline(self, starts: Iterable[date]) -> list[FileEntry]:
        days = {
            start - timedelta(days=before)
            for start in starts
            for before in range(1, BASELINE_DAYS + 1)
        }
        files = self.draft.generation.partitions(self.table.name)
        return [files[day] for day in sorted(days & files.keys())]


def _load_inventory(
    connection: duckdb.DuckDBPyConnection, inventory: pa.Table | Iterable[pa.Table]
) -> frozenset[date]:
    """Make the table ``inventory_of_run``; returns its days."""
    connection.execute(
        "CREATE TEMP TABLE inventory_of_run (uri VARCHAR, day DATE, deleted_at TIMESTAMPTZ)"
    )
    for found in [inventory] if isinstance(inventory, pa.Table) else inventory:
        connection.register("found", found)
        connection.execute("INSERT INTO inventory_of_run SELECT uri, day, deleted_at FROM found")
        connection.unregister("found")
    rows = connection.execute("SELECT DISTINCT day FROM inventory_of_run").fetchall()
    return frozenset(day for (day,) in rows)


def _merge(results: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
    """Add what a check found in one part to what it found in the parts before."""
    if not row["failed"] and row["value"] is None:
        row["detail"] = None  # of what, where nothing is
    known = results.setdefault(row["check_name"], row)
    if known is row:
        return
    known["failed"] += row["failed"]
    if row["value"] is None:
        known["detail"] = min(filter(None, (known["detail"], row["detail"])), default=None)
    elif known["value"] is None or row["value"] > known["value"]:
        # The worst is the greatest: a check measures so.
        known["value"], known["detail"] = row["value"], row["detail"]


def _raise_on_block(found: Sequence[dict[str, Any]], draft: Draft, folder: Path | None) -> None:
    failed = [row for row in found if row["failed"] and row["severity"] == Severity.BLOCK]
    if not failed:
        return
    lines = [
        f"  {row['table_name']:<22} {row['check_name']:<26} {row['failed']:>8}  {row['detail']}"
        for row in failed
    ]
    listed = "" if folder is None else f"\nAll results are in {folder / REPORT}."
    raise CheckFailed(
        f"{len(failed)} checks failed, so run {draft.generation.run_id} was not published and "
        "readers still see the night before.\n"
        f"  {'table':<22} {'check':<26} {'rows':>8}  one of them\n" + "\n".join(lines) + listed
    )
