"""What a home holds, asked of its current generation: the facts behind every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

from platemill.catalog.distributions import one_row, quoted
from platemill.catalog.lineage import Lineage, find_lineage
from platemill.catalog.statistics import (
    PERIODS_SHOWN,
    SAMPLE_ROWS,
    Point,
    TableStatistics,
    measure_columns,
    measure_periods,
)
from platemill.errors import RetryableError
from platemill.features.catalog import ENTITIES
from platemill.lake import Generation, open_lake
from platemill.schema import CHECK_RESULTS, TABLES, Table
from platemill.settings import Settings
from platemill.warehouse.duck import connect, show_generation
from platemill.warehouse.publish import finish_publish
from platemill.warehouse.sql_files import derived_sql

__all__ = ["Survey", "TableFacts", "survey"]

# A plate that every page may show: the one that the docs use.
_NOBODYS_KEY = "A123BC77"
# Trailing windows have up to four rows for each day, and compute each from up to ninety.
_ROWS_OF_ONE = 10


@dataclass(frozen=True)
class TableFacts:
    """A table of the schema and what the current generation holds of it.

    Attributes:
        table: what the schema says.
        statistics: what its rows say; None before the first night.
        files: Parquet files, one a partition.
        bytes: their size.
        first: the first partition.
        last: the last one.
        until: the newest ``event_timestamp``: up to when the table tells.
        known_at: when its newest row was made.
        newest: the newest period that it tells of.
        rows_by_period: rows of each of the newest periods.
        keys: of a table without files, how many keys were looked at, and how many there are.
        checks: what its checks found the last time that it was checked, a row a check.
    """

    table: Table
    statistics: TableStatistics | None = None
    files: int = 0
    bytes: int = 0
    first: date | None = None
    last: date | None = None
    newest: date | None = None
    until: datetime | None = None
    known_at: datetime | None = None
    rows_by_period: tuple[Point, ...] = ()
    keys: tuple[int, int] | None = None
    checks: tuple[dict[str, Any], ...] = ()

    @property
    def rows(self) -> int | None:
        """Its rows, estimated if only some keys were looked at; None before the first night."""
        if self.statistics is None:
            return None
        if self.keys is None or self.keys[0] == 0:
            return self.statistics.rows
        return self.statistics.rows * self.keys[1] // self.keys[0]

    @property
    def estimated(self) -> bool:
        """Whether ``rows`` is an estimate."""
        return self.keys is not None and self.keys[0] < self.keys[1]


@dataclass(frozen=True)
class Survey:
    """Everything that the pages show.

    Attributes:
        generation: what was looked at; None before the first night.
        tables: by name, in the schema's order.
        lineage: who is made from whom.
        keys: a key to ask for, by entity; one that points at nobody where keys are personal.
        show_values: whether values of personal columns are in it.
    """

    generation: Generation | None
    tables: dict[str, TableFacts]
    lineage: Lineage
    keys: dict[str, str]
    show_values: bool


def survey(
    settings: Settings,
    *,
    show_values: bool = False,
    sample_rows: int = SAMPLE_ROWS,
    log: Callable[[str], None] = lambda _: None,
) -> Survey:
    """Look at every table of the current generation.

    Args:
        settings: where the home and the SQL files are.
        show_values: also show values of columns that point at a person.
        sample_rows: how many rows of a table are looked at closely, about.
        log: is told of each table.

    Raises:
        ConfigurationError: the home was written with another schema, or an SQL file is missing.
        RetryableError: a file was removed in between; ask again.
    """
    lineage = find_lineage(settings.sql)
    lake = open_lake(settings)
    if settings.home.is_dir():
        # The pages tell people to open warehouse.duckdb: it must show what they say.
        finish_publish(settings)
    generation = lake.current()
    keys = {kind.join_key: _NOBODYS_KEY for kind in ENTITIES}
    if generation is None:
        empty = {table.name: TableFacts(table) for table in TABLES.values()}
        return Survey(None, empty, lineage, keys, show_values)
    tables: dict[str, TableFacts] = {}
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        try:
            show_generation(connection, lake, generation, settings.sql)
            # Base tables first: a derived one says how fresh it is by them.
            for table in sorted(TABLES.values(), key=lambda table: table.derived_from is not None):
                log(f"looking at {table.name}")
                if table.derived_from is not None:
                    base = tables[table.derived_from]
                    tables[table.name] = _look_at_derived(
                        connection, settings, generation, table, base, sample_rows, show_values
                    )
                    continue
                tables[table.name] = _look_at(
                    connection, generation, table, show_values, sample_rows
                )
            keys |= _example_keys(connection, tables, show_values)
            checks = _checks(connection, show_values)
        except duckdb.IOException as error:
            raise RetryableError(
                f"a file of generation {generation.number} of {lake.url} could not be read, a "
                f"vacuum may have removed it: {error}"
            ) from error
    tables = {name: replace(tables[name], checks=checks.get(name, ())) for name in TABLES}
    return Survey(generation, tables, lineage, keys, show_values)


def _look_at(
    connection: duckdb.DuckDBPyConnection,
    generation: Generation,
    table: Table,
    show_values: bool,
    sample_rows: int,
) -> TableFacts:
    statistics = measure_columns(
        connection, table, show_values=show_values, sample_rows=sample_rows
    )
    if statistics.rows == 0:
        return TableFacts(table, statistics)
    periods = measure_periods(connection, table, statistics.rows, PERIODS_SHOWN)
    columns = {
        name: replace(column, points=periods.values[name][1], points_of=periods.values[name][0])
        for name, column in statistics.columns.items()
    }
    statistics = replace(statistics, columns=columns)
    files = generation.partitions(table.name)
    return TableFacts(
        table,
        statistics,
        files=len(files),
        bytes=sum(entry.bytes for entry in files.values()),
        first=columns[table.partition].low,
        last=columns[table.partition].high,
        newest=columns[table.partition].high,
        until=_newest(statistics, ("event_timestamp", "captured_at")),
        known_at=_newest(statistics, ("created_timestamp", "processed_at", "checked_at")),
        rows_by_period=periods.rows,
    )


def _look_at_derived(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    generation: Generation,
    table: Table,
    base: TableFacts,
    sample_rows: int,
    show_values: bool,
) -> TableFacts:
    """Compute a table that has no files, for some of its keys if there are many rows below it.

    Its rows change from day to day by themselves. Those up to the generation's time do not.
    """
    key = quoted(table.entity or table.key[0])
    below = quoted(base.table.name)
    [different] = one_row(connection, f"SELECT count(DISTINCT {key}) FROM {below}")
    chosen = different
    rows = f"SELECT * FROM memory.{below}"
    # A row below becomes several, each with a look at its window.
    most = max(1, sample_rows // _ROWS_OF_ONE)
    if (base.rows or 0) > most:
        chosen = max(1, different * most // (base.rows or 1))
        rows += (
            f" WHERE {key} IN (SELECT {key} FROM (SELECT DISTINCT {key} FROM memory.{below}) "
            f"ORDER BY hash({key}), {key} LIMIT {chosen})"
        )
    made = derived_sql(settings.sql, table, rows, current=True)
    shown = quoted(table.name)
    connection.execute(
        f"CREATE TEMP TABLE {shown} AS SELECT * FROM ({made}) WHERE event_timestamp <= ?",
        [generation.created_at],
    )
    try:
        facts = _look_at(connection, generation, table, show_values, sample_rows)
    finally:
        connection.execute(f"DROP TABLE {shown}")
    return replace(
        facts,
        keys=(chosen, different),
        newest=base.newest,
        until=base.until,
        known_at=base.known_at,
    )


def _checks(
    connection: duckdb.DuckDBPyConnection, show_values: bool
) -> dict[str, tuple[dict[str, Any], ...]]:
    """What each table's checks found the last time that the table was checked."""
    rows = connection.execute(
        f"SELECT table_name, check_name, severity, failed, value, detail, generation, checked_at "
        f"FROM {quoted(CHECK_RESULTS.name)} "
        "QUALIFY generation = max(generation) OVER (PARTITION BY table_name) "
        "ORDER BY table_name, severity, check_name"
    )
    names = [column[0] for column in rows.description or ()]
    found: dict[str, tuple[dict[str, Any], ...]] = {}
    for row in rows.fetchall():
        said = dict(zip(names, row, strict=True))
        if not show_values:
            # One of what broke a check: a plate, most likely.
            said["detail"] = None
        found[row[0]] = (*found.get(row[0], ()), said)
    return found


def _newest(statistics: TableStatistics, names: Sequence[str]) -> Any:
    return next((statistics.columns[n].high for n in names if n in statistics.columns), None)


def _example_keys(
    connection: duckdb.DuckDBPyConnection, tables: dict[str, TableFacts], show_values: bool
) -> dict[str, str]:
    """A key of each entity from the newest partition of its first view, if it may be shown."""
    return dict(_example_key(connection, facts) for facts in _speaking(tables, show_values))


def _speaking(tables: dict[str, TableFacts], show_values: bool) -> Iterator[TableFacts]:
    for kind in ENTITIES:
        facts = next(f for f in tables.values() if f.table.entity == kind.join_key)
        if facts.rows and (show_values or not facts.table.column(kind.join_key).pii):
            yield facts


def _example_key(connection: duckdb.DuckDBPyConnection, facts: TableFacts) -> tuple[str, str]:
    entity = facts.table.entity
    if entity is None:
        raise AssertionError(facts.table.name)
    [(key,)] = connection.execute(
        f"SELECT min({quoted(entity)}) FROM {quoted(facts.table.name)} "
        f"WHERE {quoted(facts.table.partition)} = ?",
        [facts.last],
    ).fetchall()
    return entity, key
