"""A table and its columns in the words and charts that the templates place."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from markupsafe import Markup

from platemill.catalog.distributions import Bar, column_kind
from platemill.catalog.statistics import ColumnStatistics, Point
from platemill.catalog.survey import TableFacts
from platemill.features.catalog import OFFLINE_VIEWS, VIEWS
from platemill.pages.charts import bars_chart, line_chart
from platemill.pages.wording import count, number, share, stamp, time_to_live
from platemill.schema import FACTS, TILES, Column
from platemill.warehouse.duck import sql_type

__all__ = ["column_rows", "table_summary"]

_SHORT_TYPES = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}


def table_summary(facts: TableFacts) -> dict[str, Any]:
    """What a card and a page's head say about a table."""
    table = facts.table
    kind = _kind(facts)
    period = table.period or "day"
    chart = Markup("")
    if facts.rows_by_period:
        chart = bars_chart(
            [Bar(str(point.period), point.value or 0.0) for point in facts.rows_by_period],
            f"rows by {period}, {_span(facts.rows_by_period)}",
            lambda bar: f"{bar.label}: {count(int(bar.value))} rows",
            width=240,
            height=36,
        )
    return {
        "name": table.name,
        "page": f"{table.name}.html",
        "kind": kind,
        "table": table,
        "facts": facts,
        "personal": any(column.pii for column in table.columns),
        "offline": table in OFFLINE_VIEWS,
        "ttl": None if table.ttl is None else time_to_live(table.ttl),
        "chart": chart,
        "chart_of": f"rows by {period}",
        "chart_span": _ends(facts.rows_by_period),
        "feature_count": len(table.features),
        "chart_most": max((int(p.value or 0) for p in facts.rows_by_period), default=0),
        "words": _words(facts),
        "fields": [
            {
                "name": column.name,
                "unit": column.unit,
                "description": column.description,
                "feature": column.feature,
                "words": f"{column.name} {column.description} {column.unit}".lower(),
            }
            for column in table.columns
        ],
    }


def _kind(facts: TableFacts) -> str:
    table = facts.table
    if table in (*VIEWS, *OFFLINE_VIEWS):
        return "feature view"
    if table.derived_from is not None:
        return "view"
    return "fact" if table in FACTS else "tile" if table in TILES else "table"


def column_rows(
    facts: TableFacts, *, show_values: bool, features: bool = False
) -> list[dict[str, Any]]:
    """A row a column, or a row a feature: what it is and what it holds."""
    columns = facts.table.features if features else facts.table.columns
    return [_column_row(facts, column, show_values) for column in columns]


def _column_row(facts: TableFacts, column: Column, show_values: bool) -> dict[str, Any]:
    said = sql_type(column.type)
    for long, short in _SHORT_TYPES.items():
        said = said.replace(long, short)
    row: dict[str, Any] = {
        "column": column,
        "type": said,
        "key": column.name in facts.table.key,
        "hidden": column.pii and not show_values,
        "statistics": None,
    }
    if not facts.rows or facts.statistics is None:
        return row
    known = facts.statistics.columns[column.name]
    return row | {
        "statistics": known,
        "nulls": share(known.nulls, facts.statistics.rows),
        "distinct": _distinct(known),
        "range": _range(column, known),
        **_distribution(column, known),
        **_by_period(column, known, facts.table.partition),
    }


def _distinct(known: ColumnStatistics) -> str:
    if known.distinct is None:
        return "–"
    return f"{'≈ ' if known.estimated else ''}{count(known.distinct)}"


def _range(column: Column, known: ColumnStatistics) -> list[tuple[str, str]]:
    """Name and value of what a column spans."""
    kind = column_kind(column.type)
    said = []
    if kind in ("number", "list") and known.low is not None:
        said += [
            ("min", number(_plain(known.low))),
            ("median", number(_plain(known.middle))),
            ("mean", number(known.mean or 0.0)),
            ("max", number(_plain(known.high))),
        ]
    elif kind == "time" and known.low is not None:
        said += [("first", stamp(known.low)), ("median", stamp(known.middle))]
        said += [("last", stamp(known.high))]
    if known.lengths is not None:
        short, middle, long = known.lengths
        unit = "elements" if kind == "list" else "characters"
        span = number(short) if short == long else f"{number(short)} to {number(long)}"
        said.append((unit, span))
        if short != long:
            said.append((f"median {unit}", number(middle)))
    if known.not_finite:
        said.append(("not finite", count(known.not_finite)))
    return said


def _distribution(column: Column, known: ColumnStatistics) -> dict[str, Any]:
    """A histogram with its axis, or the most frequent values, or a sentence."""
    if not known.bars:
        return {"chart": None, "top": None, "note": known.bars_of}
    if known.frequent:
        whole = known.rest + sum(bar.value for bar in known.bars)
        most = max(bar.value for bar in known.bars)
        top = [
            {
                "value": bar.label,
                "share": share(int(bar.value), int(whole)),
                "wide": f"{100 * bar.value / most:.1f}",
            }
            for bar in known.bars
        ]
        rest = share(known.rest, int(whole)) if known.rest else ""
        return {"chart": None, "top": top, "rest": rest, "note": ""}
    label = f"{column.name}: {known.bars_of}"
    low, high = _edge(known.bars[0].low), _edge(known.bars[-1].high)
    return {
        "chart": bars_chart(known.bars, label, lambda bar: _bar_in_words(bar, known.bars_of)),
        "top": None,
        "axis": (low, high) if low != high else (low, ""),
        "note": known.bars_of,
    }


def _bar_in_words(bar: Bar, what: str) -> str:
    if bar.label:
        return f"{bar.label}: {number(bar.value)}"
    low, high = _edge(bar.low), _edge(bar.high)
    span = low if low == high else f"{low} to {high}"
    return f"{span}: {count(int(bar.value))} {what.split()[0]}"


def _by_period(column: Column, known: ColumnStatistics, partition: str) -> dict[str, Any]:
    values = [point.value for point in known.points if point.value is not None]
    # Of the column that divides the periods every period has one value.
    if not values or column.name == partition:
        return {"spark": None}
    return {
        "spark": line_chart(known.points, f"{column.name}: {known.points_of}", number),
        "spark_of": known.points_of,
        "spark_span": (number(min(values)), number(max(values))),
    }


def _edge(value: Any) -> str:
    if isinstance(value, date | datetime):
        return stamp(value)[:10]
    return number(_plain(value))


def _plain(value: Any) -> float | int:
    """A number as Python's own; DuckDB gives decimals too."""
    return value if isinstance(value, int) else float(value)


def _span(points: tuple[Point, ...]) -> str:
    if not points:
        return ""
    first, last = points[0].period, points[-1].period
    return stamp(first) if first == last else f"{stamp(first)} to {stamp(last)}"


def _ends(points: tuple[Point, ...]) -> tuple[str, str]:
    return (stamp(points[0].period), stamp(points[-1].period)) if points else ("", "")


def _words(facts: TableFacts) -> str:
    """What a card is found by."""
    table = facts.table
    tags = [part for tag in table.tags.items() for part in tag]
    said = [table.name, table.description, table.owner, table.entity or "", *tags]
    said.append(_kind(facts))
    return " ".join(said).lower()
