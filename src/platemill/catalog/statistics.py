"""What the current generation's rows say about a table, in a bounded number of passes over it.

One pass counts and finds extremes, exactly. Quantiles, histograms and frequent values come from a
sample that is chosen by a hash of the key: the same rows for the same data, whatever the threads.
Values by period are read from the newest partitions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from platemill.schema import Column, Period, Table

__all__ = [
    "PERIODS_SHOWN",
    "SAMPLE_ROWS",
    "Bar",
    "ColumnStatistics",
    "Periods",
    "Point",
    "TableStatistics",
    "column_kind",
    "measure_columns",
    "measure_periods",
]

SAMPLE_ROWS = 100_000
"""At most about so many rows are looked at for quantiles, histograms and frequent values."""

PERIODS_SHOWN = 90
"""Of so many of the newest partitions the values by period are shown."""

# Below it distinct values are counted, above it estimated (HyperLogLog, a few per cent).
_COUNTED_ROWS = 100_000
_BINS = 24
_TOP = 6
# Histograms end where only one value in two hundred is beyond, if that is far from the largest.
_TAIL = 0.995
_MOST_PLACES = 48


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: what it stands for, and how many rows (or what mean value) it has."""

    label: str
    value: float
    low: Any = None
    high: Any = None


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


def column_kind(arrow: pa.DataType) -> str:
    """``number``, ``time``, ``text``, ``truth`` or ``list``."""
    if pa.types.is_list(arrow):
        return "list"
    if pa.types.is_boolean(arrow):
        return "truth"
    if pa.types.is_temporal(arrow):
        return "time"
    return "text" if pa.types.is_string(arrow) else "number"


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
    [rows] = _row(connection, f"SELECT count(*) FROM {_name(table.name)}")
    if rows == 0:
        return TableStatistics(0)
    counted = rows <= _COUNTED_ROWS
    asked = [expression for column in table.columns for expression in _aggregates(column, counted)]
    said = iter(_row(connection, f"SELECT {', '.join(asked)} FROM {_name(table.name)}"))
    every = -(-rows // sample_rows)
    chosen = ", ".join(_name(name) for name in table.key)
    kept = "" if every == 1 else f" WHERE hash({chosen}) % {every} = 0"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE looked_at AS SELECT * FROM {_name(table.name)}{kept}"
    )
    try:
        [sampled] = _row(connection, "SELECT count(*) FROM looked_at")
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
                known |= _look(connection, column, hidden=hidden)
            columns[column.name] = ColumnStatistics(**known)
    finally:
        connection.execute("DROP TABLE looked_at")
    return TableStatistics(rows, sampled, columns)


def measure_periods(
    connection: duckdb.DuckDBPyConnection, table: Table, newest: int = PERIODS_SHOWN
) -> Periods:
    """One value a period and column, of what the connection shows under the table's name.

    Args:
        connection: it has a view or table of the table's name, with the schema's columns.
        table: the table.
        newest: of how many of the newest periods that have a row.
    """
    asked = []
    for column in table.columns:
        name = _name(column.name)
        match column_kind(column.type):
            case "number":
                asked.append(f"favg({_finite(column)})")
            case "list":
                numbers = column_kind(column.type.value_type) == "number"
                asked.append(f"favg(list_avg({name}))" if numbers else f"favg(len({name}))")
            case _:
                asked.append(f"approx_count_distinct({name})")
    partition, shown = _name(table.partition), _name(table.name)
    [since] = _row(
        connection,
        f"SELECT min({partition}) FROM (SELECT DISTINCT {partition} FROM {shown} "
        f"ORDER BY ALL DESC LIMIT {newest})",
    )
    rows = connection.execute(
        f"SELECT {partition}, count(*), {', '.join(asked)} FROM {shown} "
        f"WHERE {partition} >= ? GROUP BY {partition} ORDER BY {partition}",
        [since],
    ).fetchall()
    step = table.period or Period.DAY
    days = _calendar([row[0] for row in rows], step)
    counted = {row[0]: float(row[1]) for row in rows}
    found = {}
    for place, column in enumerate(table.columns, start=2):
        what = _by_period(column)
        values = {row[0]: _float(row[place]) for row in rows}
        found[column.name] = (
            f"{what} by {step}",
            tuple(Point(day, values.get(day)) for day in days),
        )
    return Periods(tuple(Point(day, counted.get(day, 0.0)) for day in days), found)


def _by_period(column: Column) -> str:
    kind = column_kind(column.type)
    if kind == "list":
        numbers = column_kind(column.type.value_type) == "number"
        return "mean of the lists' means" if numbers else "mean length"
    return "mean" if kind == "number" else "different values"


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
    name = _name(column.name)
    nulls = f"count(*) - count({name})"
    different = f"count(DISTINCT {name})" if counted else f"approx_count_distinct({name})"
    match column_kind(column.type):
        case "number":
            value = _finite(column)
            broken = f"count({name}) - count({value})"
            return nulls, different, f"min({value})", f"max({value})", f"favg({value})", broken
        case "time":
            return nulls, different, f"min({name})", f"max({name})", "NULL", "0"
        case "list":
            return nulls, "NULL", "NULL", "NULL", "NULL", "0"
        case _:
            return nulls, different, "NULL", "NULL", "NULL", "0"


def _look(connection: duckdb.DuckDBPyConnection, column: Column, *, hidden: bool) -> dict[str, Any]:
    """What the sample says about a column that has a value somewhere."""
    name = _name(column.name)
    match column_kind(column.type):
        case "number":
            value = _finite(column)
            return _numbers(connection, f"SELECT {value} AS v FROM looked_at", "rows")
        case "time":
            return _times(connection, name)
        case "list":
            return _lists(connection, column, hidden=hidden)
        case _ if hidden:
            return _lengths(connection, f"SELECT length({name}) AS v FROM looked_at", "characters")
        case _:
            return _frequent(connection, f"SELECT {name} AS v FROM looked_at", "rows")


def _numbers(connection: duckdb.DuckDBPyConnection, rows: str, counted: str) -> dict[str, Any]:
    low, middle, high, tail, different = _row(
        connection,
        f"SELECT min(v), quantile_cont(v, 0.5), max(v), quantile_cont(v, {_TAIL}), "
        f"count(DISTINCT v) FROM ({rows})",
    )
    if low is None:
        return {}
    bars = _histogram(connection, rows, float(low), float(high), float(tail), different)
    return {"middle": middle, "bars": bars, "bars_of": f"{counted} by value"}


def _histogram(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    low: float,
    high: float,
    tail: float,
    different: int,
) -> tuple[Bar, ...]:
    """Bars of equal width; whole numbers of a small range have one each."""
    top = high
    if high - low > 3 * (tail - low) > 0:
        top = tail
    [whole] = _row(connection, f"SELECT bool_and(v = floor(v)) FROM ({rows})")
    if whole:
        # Every bar has the same number of whole values in it, else some are high by chance.
        per_bar = max(1, -int(-(top - low + 1) // _BINS))
        bins = max(1, -int(-(top - low + 1) // per_bar))
        width = float(per_bar)
    else:
        bins = _BINS if different > 1 else 1
        width = (top - low) / bins
    width = width or 1.0
    found = dict(
        connection.execute(
            "SELECT least(CAST(floor((v - ?) / ?) AS BIGINT), ?) AS bin, count(*) "
            f"FROM ({rows}) WHERE v IS NOT NULL GROUP BY bin ORDER BY bin",
            [low, width, bins - 1],
        ).fetchall()
    )
    bars = []
    for place in range(bins):
        start = low + place * width
        end = high if place == bins - 1 else start + width
        if whole:
            start, end = int(start), int(high if place == bins - 1 else end - 1)
        bars.append(Bar("", float(found.get(place, 0)), start, end))
    return tuple(bars)


def _times(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    low, high = _row(connection, f"SELECT min({name}), max({name}) FROM looked_at")
    if low is None:
        return {}
    # A time in the middle, so that nobody need add times up.
    [middle] = _row(connection, f"SELECT quantile_disc({name}, 0.5) FROM looked_at")
    seconds = f"SELECT epoch({name}) AS v FROM looked_at"
    first, last, different = _row(
        connection, f"SELECT min(v), max(v), count(DISTINCT v) FROM ({seconds})"
    )
    bins = max(1, min(_BINS, different))
    width = (last - first) / bins or 1.0
    found = dict(
        connection.execute(
            "SELECT least(CAST(floor((v - ?) / ?) AS BIGINT), ?) AS bin, count(*) "
            f"FROM ({seconds}) WHERE v IS NOT NULL GROUP BY bin ORDER BY bin",
            [first, width, bins - 1],
        ).fetchall()
    )
    step = (high - low) / bins
    bars = tuple(
        Bar("", float(found.get(place, 0)), low + place * step, low + (place + 1) * step)
        for place in range(bins)
    )
    return {"middle": middle, "bars": bars, "bars_of": "rows by time"}


def _lengths(connection: duckdb.DuckDBPyConnection, rows: str, unit: str) -> dict[str, Any]:
    low, middle, high, tail, different = _row(
        connection,
        "SELECT min(v), quantile_cont(v, 0.5), max(v), "
        f"quantile_cont(v, {_TAIL}), count(DISTINCT v) FROM ({rows})",
    )
    if low is None:
        return {}
    bars = _histogram(connection, rows, float(low), float(high), float(tail), different)
    return {
        "lengths": (float(low), float(middle), float(high)),
        "bars": bars,
        "bars_of": f"rows by number of {unit}",
    }


def _lists(
    connection: duckdb.DuckDBPyConnection, column: Column, *, hidden: bool
) -> dict[str, Any]:
    name = _name(column.name)
    lengths = _lengths(connection, f"SELECT len({name}) AS v FROM looked_at", "elements")
    element = column_kind(column.type.value_type)
    if not lengths or element not in ("number", "text"):
        return lengths
    flat = f"SELECT unnest({name}) AS v FROM looked_at"
    shortest, _, longest = lengths["lengths"]
    if element == "number":
        finite = f"SELECT v FROM ({flat}) WHERE v IS NOT NULL AND isfinite(CAST(v AS DOUBLE))"
        low, high, mean = _row(connection, f"SELECT min(v), max(v), favg(v) FROM ({finite})")
        if low is None:
            return lengths
        looked = _numbers(connection, finite, "elements") | {"low": low, "high": high, "mean": mean}
        if shortest == longest and 2 <= longest <= _MOST_PLACES:
            looked |= _places(connection, name, int(longest))
        return lengths | looked
    if hidden:
        return lengths
    frequent = _frequent(connection, flat, "elements")
    return lengths | frequent


def _places(connection: duckdb.DuckDBPyConnection, name: str, many: int) -> dict[str, Any]:
    """Lists of one length are a histogram of their own: the mean of each place."""
    asked = ", ".join(f"favg({name}[{place}])" for place in range(1, many + 1))
    means = _row(connection, f"SELECT {asked} FROM looked_at")
    bars = tuple(
        Bar(str(place), _float(mean) or 0.0, place, place) for place, mean in enumerate(means)
    )
    return {"bars": bars, "bars_of": "mean by place in the list"}


def _frequent(connection: duckdb.DuckDBPyConnection, rows: str, counted: str) -> dict[str, Any]:
    """The most frequent values, if any value is frequent: names that are all different are not."""
    [different, all_rows] = _row(connection, f"SELECT count(DISTINCT v), count(v) FROM ({rows})")
    if different == 0:
        return {}
    if different > _TOP and different > all_rows / 4:
        return {"bars_of": "hardly a value twice", "rest": all_rows}
    top = connection.execute(
        f"SELECT v, count(*) AS n FROM ({rows}) WHERE v IS NOT NULL "
        f"GROUP BY v ORDER BY n DESC, v LIMIT {_TOP}"
    ).fetchall()
    bars = tuple(Bar(_label(value), float(n), value, value) for value, n in top)
    rest = all_rows - sum(n for _, n in top)
    return {"bars": bars, "bars_of": f"{counted} by value", "frequent": True, "rest": rest}


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _finite(column: Column) -> str:
    """A number's value as a double, null if it is none."""
    name = _name(column.name)
    if pa.types.is_floating(column.type):
        return f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    if pa.types.is_decimal(column.type):
        return f"CAST({name} AS DOUBLE)"
    return name


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _name(name: str) -> str:
    return f'"{name}"'


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[Any]:
    """The only row of an answer. It is read to its end: DuckDB has one open answer at a time."""
    [row] = connection.execute(sql).fetchall()
    return row  # type: ignore[no-any-return]
