"""How a column's values are distributed in a sample: histograms, frequent values, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa

from platemill.schema import Column

__all__ = ["SAMPLE", "Bar", "column_kind", "distribution", "finite", "one_row", "quoted", "real"]

SAMPLE = "looked_at"
"""The name of the table that holds the sample."""

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


def column_kind(arrow: pa.DataType) -> str:
    """``number``, ``time``, ``text``, ``truth`` or ``list``."""
    if pa.types.is_list(arrow):
        return "list"
    if pa.types.is_boolean(arrow):
        return "truth"
    if pa.types.is_temporal(arrow):
        return "time"
    return "text" if pa.types.is_string(arrow) else "number"


def distribution(
    connection: duckdb.DuckDBPyConnection, column: Column, *, hidden: bool
) -> dict[str, Any]:
    """What the sample says about a column that has a value somewhere.

    Args:
        connection: it has the sample as the table ``SAMPLE``.
        column: one of its columns.
        hidden: no value is to be in the answer, only lengths.

    Returns:
        Some of the fields of ``ColumnStatistics``: ``middle``, ``bars``, ``bars_of`` and, where
        they apply, ``frequent``, ``rest``, ``lengths``, and a list's ``low``, ``high``, ``mean``.
    """
    name = quoted(column.name)
    match column_kind(column.type):
        case "number":
            value = finite(column)
            return _numbers(connection, f"SELECT {value} AS v FROM {SAMPLE}", "rows")
        case "time":
            if pa.types.is_date(column.type):
                return _days(connection, name)
            return _times(connection, name)
        case "list":
            return _lists(connection, column, hidden=hidden)
        case _ if hidden:
            return _lengths(connection, f"SELECT length({name}) AS v FROM {SAMPLE}", "characters")
        case _:
            return _frequent(connection, f"SELECT {name} AS v FROM {SAMPLE}", "rows")


def _numbers(connection: duckdb.DuckDBPyConnection, rows: str, counted: str) -> dict[str, Any]:
    low, middle, high, tail, different = one_row(
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
    [whole] = one_row(connection, f"SELECT bool_and(v = floor(v)) FROM ({rows})")
    if whole:
        # Every bar has the same number of whole values in it, else some are high by chance.
        per_bar = max(1, -int(-(top - low + 1) // _BINS))
        bins = max(1, -int(-(top - low + 1) // per_bar))
        width = float(per_bar)
    else:
        bins = _BINS if different > 1 else 1
        width = (top - low) / bins
    width = width or 1.0
    found = _in_bins(connection, rows, low, width, bins)
    bars = []
    for place in range(bins):
        start = low + place * width
        end = high if place == bins - 1 else start + width
        if whole:
            start, end = int(start), int(high if place == bins - 1 else end - 1)
        bars.append(Bar("", float(found.get(place, 0)), start, end))
    return tuple(bars)


def _in_bins(
    connection: duckdb.DuckDBPyConnection, rows: str, low: float, width: float, bins: int
) -> dict[int, int]:
    """How many values ``v`` lie in each bin from ``low`` on; the last one is open."""
    return dict(
        connection.execute(
            "SELECT least(CAST(floor((v - ?) / ?) AS BIGINT), ?) AS bin, count(*) "
            f"FROM ({rows}) WHERE v IS NOT NULL GROUP BY bin ORDER BY bin",
            [low, width, bins - 1],
        ).fetchall()
    )


def _times(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    low, high = one_row(connection, f"SELECT min({name}), max({name}) FROM {SAMPLE}")
    if low is None:
        return {}
    # A time in the middle, so that nobody need add times up.
    [middle] = one_row(connection, f"SELECT quantile_disc({name}, 0.5) FROM {SAMPLE}")
    seconds = f"SELECT epoch({name}) AS v FROM {SAMPLE}"
    first, last, different = one_row(
        connection, f"SELECT min(v), max(v), count(DISTINCT v) FROM ({seconds})"
    )
    bins = max(1, min(_BINS, different))
    width = (last - first) / bins or 1.0
    found = _in_bins(connection, seconds, first, width, bins)
    step = (high - low) / bins
    bars = tuple(
        Bar("", float(found.get(place, 0)), low + place * step, low + (place + 1) * step)
        for place in range(bins)
    )
    return {"middle": middle, "bars": bars, "bars_of": "rows by time"}


def _days(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Bars of whole days, each of the same number: no day is high because it shares a bar."""
    low, middle, high = one_row(
        connection,
        f"SELECT min({name}), quantile_disc({name}, 0.5), max({name}) FROM {SAMPLE}",
    )
    if low is None:
        return {}
    many = (high - low).days + 1
    per_bar = -(-many // _BINS)
    found = dict(
        connection.execute(
            f"SELECT ({name} - ?::DATE) // ? AS bin, count(*) FROM {SAMPLE} "
            f"WHERE {name} IS NOT NULL GROUP BY bin ORDER BY bin",
            [low, per_bar],
        ).fetchall()
    )
    bars = []
    for place in range(-(-many // per_bar)):
        first = low + timedelta(days=place * per_bar)
        last = min(high, first + timedelta(days=per_bar - 1))
        bars.append(Bar("", float(found.get(place, 0)), first, last))
    return {"middle": middle, "bars": tuple(bars), "bars_of": "rows by time"}


def _lengths(connection: duckdb.DuckDBPyConnection, rows: str, unit: str) -> dict[str, Any]:
    low, middle, high, tail, different = one_row(
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
    name = quoted(column.name)
    lengths = _lengths(connection, f"SELECT len({name}) AS v FROM {SAMPLE}", "elements")
    element = column_kind(column.type.value_type)
    if not lengths or element not in ("number", "text"):
        return lengths
    flat = f"SELECT unnest({name}) AS v FROM {SAMPLE}"
    shortest, _, longest = lengths["lengths"]
    if element == "number":
        finite = f"SELECT v FROM ({flat}) WHERE v IS NOT NULL AND isfinite(CAST(v AS DOUBLE))"
        low, high, mean = one_row(connection, f"SELECT min(v), max(v), favg(v) FROM ({finite})")
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
    means = one_row(connection, f"SELECT {asked} FROM {SAMPLE}")
    bars = tuple(
        Bar(str(place), real(mean) or 0.0, place, place) for place, mean in enumerate(means)
    )
    return {"bars": bars, "bars_of": "mean by place in the list"}


def _frequent(connection: duckdb.DuckDBPyConnection, rows: str, counted: str) -> dict[str, Any]:
    """The most frequent values, if any value is frequent: names that are all different are not."""
    [different, all_rows] = one_row(connection, f"SELECT count(DISTINCT v), count(v) FROM ({rows})")
    if different == 0:
        return {}
    if different > _TOP and different > all_rows / 4:
        return {"bars_of": "too many different values to show", "rest": all_rows}
    top = connection.execute(
        f"SELECT v, count(*) AS n FROM ({rows}) WHERE v IS NOT NULL "
        f"GROUP BY v ORDER BY n DESC, v LIMIT {_TOP}"
    ).fetchall()
    bars = tuple(Bar(_label(value), float(n), value, value) for value, n in top)
    rest = all_rows - sum(n for _, n in top)
    return {"bars": bars, "bars_of": f"{counted} by value", "frequent": True, "rest": rest}


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def finite(column: Column) -> str:
    """A number's value as a double, null if it is none."""
    name = quoted(column.name)
    if pa.types.is_floating(column.type):
        return f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    if pa.types.is_decimal(column.type):
        return f"CAST({name} AS DOUBLE)"
    return name


def real(value: Any) -> float | None:
    """A number of DuckDB's, a decimal say, as a float; None stays None."""
    return None if value is None else float(value)


def quoted(name: str) -> str:
    """A name as SQL writes it; those of the schema hold no quotes."""
    return f'"{name}"'


def one_row(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[Any]:
    """The only row of an answer. It is read to its end: DuckDB has one open answer at a time."""
    [row] = connection.execute(sql).fetchall()
    return row  # type: ignore[no-any-return]
