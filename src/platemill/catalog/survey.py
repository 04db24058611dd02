"""What a home holds, asked of its current generation: the facts behind every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

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
from platemill.schema import TABLES, Table
from platemill.settings import Settings
from platemill.warehouse.duck import connect, create_view
from platemill.warehouse.publish import finish_publish

__all__ = ["Survey", "TableFacts", "survey"]

# A plate that every page may show: the one that the docs use.
_NOBODYS_KEY = "A123BC77"


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
        rows_by_period: rows of each of the newest periods.
    """

    table: Table
    statistics: TableStatistics | None = None
    files: int = 0
    bytes: int = 0
    first: date | None = None
    last: date | None = None
    until: datetime | None = None
    known_at: datetime | None = None
    rows_by_period: tuple[Point, ...] = ()

    @property
    def rows(self) -> int | None:
        """Its rows; None before the first night."""
        return None if self.statistics is None else self.statistics.rows


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
    tables = {}
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        try:
            for table in TABLES.values():
                create_view(connection, lake, table, generation.partitions(table.name).values())
            for table in TABLES.values():
                log(f"looking at {table.name}")
                tables[table.name] = _look_at(
                    connection, generation, table, show_values, sample_rows
                )
            keys |= _example_keys(connection, tables, show_values)
        except duckdb.IOException as error:
            raise RetryableError(
                f"a file of generation {generation.number} of {lake.url} could not be read, a "
                f"vacuum may have removed it: {error}"
            ) from error
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
    periods = measure_periods(connection, table, PERIODS_SHOWN)
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
        until=_newest(statistics, ("event_timestamp", "captured_at")),
        known_at=_newest(statistics, ("created_timestamp", "processed_at", "checked_at")),
        rows_by_period=periods.rows,
    )


def _newest(statistics: TableStatistics, names: Sequence[str]) -> Any:
    return next((statistics.columns[n].high for n in names if n in statistics.columns), None)


def _example_keys(
    connection: duckdb.DuckDBPyConnection, tables: dict[str, TableFacts], show_values: bool
) -> dict[str, str]:
    """A key of each entity that has rows in the newest partition of one of its views."""
    return dict(_example_key(connection, facts) for facts in _speaking(tables, show_values))


def _speaking(tables: dict[str, TableFacts], show_values: bool) -> Iterator[TableFacts]:
    for kind in ENTITIES:
        views = [facts for facts in tables.values() if facts.table.entity == kind.join_key]
        for facts in views[:1]:
            personal = facts.table.column(kind.join_key).pii
            if facts.rows and (show_values or not personal):
                yield facts


def _example_key(connection: duckdb.DuckDBPyConnection, facts: TableFacts) -> tuple[str, str]:
    entity = facts.table.entity
    row = connection.execute(
        f'SELECT min("{entity}") FROM "{facts.table.name}" WHERE "{facts.table.partition}" = ?',
        [facts.last],
    ).fetchone()
    if entity is None or row is None:
        raise AssertionError(facts.table.name)
    return entity, row[0]
