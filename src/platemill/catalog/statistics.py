"""What the current generation's rows say about a table, in a bounded number of passes over it.

One pass counts and finds extremes, exactly. Quantiles, histograms and frequent values come from a
sample that is chosen by a hash of the key: the same rows for the same data, whatever the threads.
Values by period are read from the newest partitions only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import duckdb

from platemill.catalog.distributions import (
    SAMPLE,
    Bar,
    column_kind,
    distribution,
    finite,
    one_row,
    quoted,
    real,
)
from platemill.schema import Column, Period, Table

__all__ = [
    "PERIODS_SHOWN",
    "SAMPLE_ROWS",
    "ColumnStatistics",
    "Periods",
    "Point",
    "TableStatistics",
    "measure_columns",
    "measure_periods",
]

SAMPLE_ROWS = 100_000
"""At most about so many rows are looked at for quantiles, histograms and frequent values."""

PERIODS_SHOWN = 90
"""Of so many of the newest partitions the values by period are shown."""

# Below it distinct values are counted, above it estimated (HyperLogLog, a few per cent).
_COUNTED_ROWS = 100_000


@dataclass(frozen=True)
class Point:
    """A period and a value of it; None: there is no row, or only nulls."""

    period: date
    value: float | None


@dataclass(frozen=True)
class ColumnStatistics:
    """What a column holds.

    Attributes:
        nulls: rows that are null.
        distinct: different values; None for lists. ``estimated`` says whether it was counted.
        low, middle, high: minimum, median of the sample, maximum; of a list's elements.
        mean: of numbers and of lists' elements.
        not_finite: rows that hold NaN or an infinity; they are left out of all else.
        bars: a histogram of the sample, or its most frequent values.
        bars_of: what the bars show, for people.
        frequent: whether they are the most frequent values.
        rest: rows of the sample that are in none of the bars.
        lengths: shortest, median and longest of a list (elements) or of a hidden text (characters).
        points: a value for each of the newest periods; ``points_of`` says which.
    """

    nulls: int = 0
    distinct: int | None = None
    estimated: bool = False
    low: Any = None
    middle: Any = None
    high: Any = None
    mean: float | None = None
    not_finite: int = 0
    bars: tuple[Bar, ...] = ()
    bars_of: str = ""
    frequent: bool = False
    rest: int = 0
    lengths: tuple[float, float, float] | None = None
    points: tuple[Point, ...] = ()
    points_of: str = ""


@dataclass(frozen=True)
class TableStatistics:
    """What a table holds. ``sampled`` rows were looked at for histograms, all if it is ``rows``."""

    rows: int
    sampled: int = 0
    columns: dict[str, ColumnStatistics] = field(default_factory=dict)


@dataclass(frozen=True)
class Periods:
    """Values of the newest periods: the rows, and by column what its value is and the values.

    Numbers have their mean, lists of numbers the mean of their means, lists of texts their mean
    length, everything else the number of different values.
    """

    rows: tuple[Point, ...]
    values: dict[str, tuple[str, tuple[Point, ...]]]


def measure_columns(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    *,
    show_values: bool = False,
    sample_rows: int = SAMPLE_ROWS,
) -> TableStatistics:
    """Count the rows that the connection shows under the table's name, column by column.

    Args:
        connection: it has a view or table of the table's name, with the schema's columns.
        table: the table.
        show_values: also values of columns that point at a person.
        sample_rows: how many rows are looked at closely, about.
    """
    [rows] = one_row(connection, f"SELECT count(*) FROM {quoted(table.name)}")
    if rows == 0:
        return TableStatistics(0)
    counted = rows <= _COUNTED_ROWS
    asked = [expression for column in table.columns for expression in _aggregates(column, counted)]
    said = iter(one_row(connection, f"SELECT {', '.join(asked)} FROM {quoted(table.name)}"))
    every = -(-rows // sample_rows)
    chosen = ", ".join(quoted(name) for name in table.key)
    kept = "" if every == 1 else f" WHERE hash({chosen}) % {every} = 0"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * FROM {quoted(table.name)}{kept}"
    )
    try:
        [sampled] = one_row(connection, f"SELECT count(*) FROM {SAMPLE}")
        columns = {}
        for column in table.columns:
            nulls, distinct, low, high, mean, not_finite = (next(said) for _ in range(6))
            known: dict[str, Any] = {
                "nulls": nulls,
                "distinct": distinct,
                "estimated": not counted,
                "low": low,
                "high": high,
                "mean": mean,
                "not_finite": not_finite,
            }
            hidden = column.pii and not show_values
            if nulls < rows:
                known |= distribution(connection, column, hidden=hidden)
            columns[column.name] = ColumnStatistics(**known)
    finally:
        connection.execute(f"DROP TABLE {SAMPLE}")
    return TableStatistics(rows, sampled, columns)


def measure_periods(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    rows: int,
    newest: int = PERIODS_SHOWN,
) -> Periods:
    """One value a period and column, of what the connection shows under the table's name.

    Args:
        connection: it has a view or table of the table's name, with the schema's columns.
        table: the table.
        rows: how many it has.
        newest: of how many of the newest periods that have a row.
    """
    asked = []
    counted = rows <= _COUNTED_ROWS
    for column in table.columns:
        name = quoted(column.name)
        match column_kind(column.type):
            case "number":
                asked.append(f"favg({finite(column)})")
            case "list":
                numbers = column_kind(column.type.value_type) == "number"
                asked.append(f"favg(list_avg({name}))" if numbers else f"favg(len({name}))")
            case _:
                asked.append(_different(name, counted))
    partition, shown = quoted(table.partition), quoted(table.name)
    [since] = one_row(
        connection,
        f"SELECT min({partition}) FROM (SELECT DISTINCT {partition} FROM {shown} "
        f"ORDER BY ALL DESC LIMIT {newest})",
    )
    answer = connection.execute(
        f"SELECT {partition}, count(*), {', '.join(asked)} FROM {shown} "
        f"WHERE {partition} >= ? GROUP BY {partition} ORDER BY {partition}",
        [since],
    ).fetchall()
    step = table.period or Period.DAY
    days = _calendar([row[0] for row in answer], step)
    many = {row[0]: float(row[1]) for row in answer}
    found = {}
    for place, column in enumerate(table.columns, start=2):
        what = _by_period(column, counted)
        values = {row[0]: real(row[place]) for row in answer}
        found[column.name] = (
            f"{what} by {step}",
            tuple(Point(day, values.get(day)) for day in days),
        )
    return Periods(tuple(Point(day, many.get(day, 0.0)) for day in days), found)


def _by_period(column: Column, counted: bool) -> str:
    kind = column_kind(column.type)
    if kind == "list":
        numbers = column_kind(column.type.value_type) == "number"
        return "mean of the lists' means" if numbers else "mean length"
    if kind == "number":
        return "mean"
    return "different values" if counted else "different values, estimated,"


def _calendar(days: Iterable[date], step: Period) -> list[date]:
    """The periods from the first to the last of some; only these if most have nothing in them.

    Trailing windows have a row only where they change, and a camera's clock may be years wrong.
    """
    known = sorted(days)
    if not known or step is Period.MONTH:
        return known
    stride = timedelta(days=7 if step is Period.WEEK else 1)
    many = (known[-1] - known[0]) // stride + 1
    if many > 2 * len(known):
        return known
    return [known[0] + place * stride for place in range(many)]


def _aggregates(column: Column, counted: bool) -> tuple[str, ...]:
    """Nulls, distinct, lowest, highest, mean and not finite, as SQL."""
    name = quoted(column.name)
    nulls = f"count(*) - count({name})"
    different = _different(name, counted)
    match column_kind(column.type):
        case "number":
            value = finite(column)
            broken = f"count({name}) - count({value})"
            return nulls, different, f"min({value})", f"max({value})", f"favg({value})", broken
        case "time":
            return nulls, different, f"min({name})", f"max({name})", "NULL", "0"
        case "list":
            return nulls, "NULL", "NULL", "NULL", "NULL", "0"
        case _:
            return nulls, different, "NULL", "NULL", "NULL", "0"


def _different(name: str, counted: bool) -> str:
    return f"count(DISTINCT {name})" if counted else f"approx_count_distinct({name})"
