"""What is said about a column is what its rows say: compared with plain Python."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from platemill.catalog.statistics import (
    PERIODS_SHOWN,
    ColumnStatistics,
    TableStatistics,
    measure_columns,
    measure_periods,
)
from platemill.schema import Column, Period, Table

TIME = pa.timestamp("us", tz="UTC")
TABLE = Table(
    "made_v1",
    "made for a test",
    (
        Column("key", pa.string(), "the key"),
        Column("day", pa.date32(), "the day"),
        Column("many", pa.int64(), "a whole number"),
        Column("ratio", pa.float64(), "a share", "0 to 1", nullable=True),
        Column("exact", pa.decimal128(38, 6), "a decimal"),
        Column("at", TIME, "a time"),
        Column("state", pa.string(), "one of a few", nullable=True),
        Column("secret", pa.string(), "of a person", pii=True),
        Column("hours", pa.list_(pa.int64()), "24 counts"),
        Column("texts", pa.list_(pa.string()), "read", pii=True),
        Column("labels", pa.list_(pa.string()), "not of a person"),
        Column("boxes", pa.list_(pa.float32()), "of any length"),
        Column("yes", pa.bool_(), "a truth"),
    ),
    key=("key", "day"),
    partition="day",
    period=Period.DAY,
)
START = date(2026, 5, 1)


def made(rows: int) -> list[dict[str, Any]]:
    return [
        {
            "key": f"k{i:05}",
            "day": START + timedelta(days=i % 5),
            "many": i % 7,
            "ratio": None if i % 10 == 0 else float("nan") if i % 10 == 1 else i / rows,
            "exact": i % 3,
            "at": datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=i),
            "state": None if i % 4 == 0 else "<b>" if i % 4 == 1 else "calm",
            "secret": f"PERSON{i}",
            "hours": [i % 2 if hour == 8 else 0 for hour in range(24)],
            "texts": [f"PERSON{i}"] * (i % 3),
            "labels": ["day", "night"][: i % 3],
            "boxes": [float(i), float("inf")][: i % 3],
            "yes": i % 2 == 0,
        }
        for i in range(rows)
    ]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def measured(
    connection: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], **given: Any
) -> TableStatistics:
    arrow = pa.Table.from_pylist(rows, schema=TABLE.arrow)
    connection.register("given", arrow)
    connection.execute(f"CREATE OR REPLACE TABLE {TABLE.name} AS SELECT * FROM given")
    return measure_columns(connection, TABLE, **given)


def heights(column: ColumnStatistics) -> float:
    return sum(bar.value for bar in column.bars)


def test_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    rows = made(1000)
    said = measured(connection, rows)
    assert (said.rows, said.sampled) == (1000, 1000)
    many = said.columns["many"]
    values = [row["many"] for row in rows]
    assert (many.nulls, many.distinct, many.low, many.high) == (0, 7, 0, 6)
    assert many.middle == statistics.median(values)
    assert many.mean == pytest.approx(statistics.fmean(values))
    # A bar a whole number, with as many rows as it has.
    assert [(bar.low, bar.high, bar.value) for bar in many.bars] == [
        (value, value, values.count(value)) for value in range(7)
    ]
    ratio = said.columns["ratio"]
    known = [r["ratio"] for r in rows if r["ratio"] is not None and not math.isnan(r["ratio"])]
    assert (ratio.nulls, ratio.not_finite) == (100, 100)
    assert (ratio.low, ratio.high) == (min(known), max(known))
    assert ratio.middle == pytest.approx(statistics.median(known))
    assert heights(ratio) == len(known)
    assert len(ratio.bars) == 24
    assert float(said.columns["exact"].mean or 0) == pytest.approx(999 / 1000)
    assert heights(said.columns["exact"]) == 1000


def test_times_texts_and_truths(connection: duckdb.DuckDBPyConnection) -> None:
    rows = made(400)
    said = measured(connection, rows)
    at = said.columns["at"]
    assert (at.low, at.high) == (rows[0]["at"], rows[-1]["at"])
    assert at.low <= at.middle <= at.high
    assert heights(at) == 400
    assert [(b.low, b.high, b.value) for b in said.columns["day"].bars] == [
        (START + timedelta(days=d), START + timedelta(days=d), 80) for d in range(5)
    ]
    state = said.columns["state"]
    assert state.frequent
    assert [(bar.label, bar.value) for bar in state.bars] == [("calm", 200), ("<b>", 100)]
    assert (state.nulls, state.rest) == (100, 0)
    assert not said.columns["key"].bars
    assert said.columns["key"].bars_of == "too many different values to show"
    assert {bar.label for bar in said.columns["yes"].bars} == {"true", "false"}


def test_days_share_bars_evenly(connection: duckdb.DuckDBPyConnection) -> None:
    days = [START + timedelta(days=d) for d in range(30)]
    bars = measured(connection, [{**made(1)[0], "day": day} for day in days]).columns["day"].bars
    assert [bar.value for bar in bars] == [2] * 15
    assert (bars[0].low, bars[0].high, bars[-1].high) == (days[0], days[1], days[-1])


def test_lists(connection: duckdb.DuckDBPyConnection) -> None:
    said = measured(connection, made(300))
    hours = said.columns["hours"]
    assert hours.lengths == (24, 24, 24)
    assert [bar.label for bar in hours.bars] == [str(hour) for hour in range(24)]
    assert [bar.value for bar in hours.bars] == [0.5 if hour == 8 else 0 for hour in range(24)]
    boxes = said.columns["boxes"]
    assert boxes.lengths == (0, 1, 2)
    # The infinities are left out.
    assert (boxes.low, boxes.high) == (1, 299)
    assert heights(boxes) == 200
    labels = said.columns["labels"]
    assert [(bar.label, bar.value) for bar in labels.bars] == [("day", 200), ("night", 100)]


def test_what_points_at_a_person_is_only_measured(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{**row, "secret": "PERSON", "texts": ["PERSON"]} for row in made(50)]
    said = measured(connection, rows)
    for name in ("secret", "texts"):
        assert "PERSON" not in repr(said.columns[name])
    assert said.columns["secret"].lengths == (6, 6, 6)
    shown = measured(connection, rows, show_values=True)
    for name in ("secret", "texts"):
        assert [bar.label for bar in shown.columns[name].bars] == ["PERSON"]


def test_no_row_and_no_value(connection: duckdb.DuckDBPyConnection) -> None:
    assert measured(connection, []) == TableStatistics(0)
    rows = [{**made(1)[0], "ratio": float("nan"), "state": None, "boxes": [], "labels": []}]
    said = measured(connection, rows)
    assert said.columns["ratio"].not_finite == 1
    assert said.columns["ratio"].bars == ()
    assert said.columns["state"].nulls == 1
    assert said.columns["labels"].bars_of == "rows by number of elements"


def test_a_long_tail_does_not_hide_the_rest(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{**row, "many": 1_000_000 if i == 0 else i % 10} for i, row in enumerate(made(1000))]
    bars = measured(connection, rows).columns["many"].bars
    assert [bar.low for bar in bars] == list(range(10))
    assert bars[-1].high == 1_000_000
    assert sum(bar.value for bar in bars) == 1000


def test_a_sample_is_the_same_whatever_the_threads(connection: duckdb.DuckDBPyConnection) -> None:
    rows = made(5000)
    first = measured(connection, rows, sample_rows=500)
    assert first.rows == 5000
    assert 300 < first.sampled < 700
    assert first.columns["many"].nulls == 0
    assert first.columns["many"].high == 6
    for threads in (1, 4):
        connection.execute(f"SET threads = {threads}")
        assert measured(connection, rows[::-1], sample_rows=500) == first


def test_periods_are_a_calendar(connection: duckdb.DuckDBPyConnection) -> None:
    days = [0, 1, 4]
    rows = [{**made(1)[0], "day": START + timedelta(days=d), "many": d} for d in days]
    measured(connection, rows)
    periods = measure_periods(connection, TABLE, 10)
    assert [p.period for p in periods.rows] == [START + timedelta(days=d) for d in range(5)]
    assert [p.value for p in periods.rows] == [1, 1, 0, 0, 1]
    what, points = periods.values["many"]
    assert what == "mean by day"
    assert [p.value for p in points] == [0, 1, None, None, 4]
    assert periods.values["state"][0] == "different values by day"
    many = measure_periods(connection, TABLE, 10**9).values["state"][0]
    assert many == "different values, estimated, by day"
    assert periods.values["hours"][0] == "mean of the lists' means by day"


def test_a_day_of_another_century_leaves_the_newest_periods_readable(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    days = [date(1970, 1, 1), *(START + timedelta(days=d) for d in range(200))]
    measured(connection, [{**made(1)[0], "day": day} for day in days])
    periods = measure_periods(connection, TABLE, 10)
    assert len(periods.rows) == PERIODS_SHOWN
    assert periods.rows[-1].period == days[-1]
    measured(connection, [{**made(1)[0], "day": day} for day in days[:3]])
    assert [p.period for p in measure_periods(connection, TABLE, 10).rows] == days[:3]
