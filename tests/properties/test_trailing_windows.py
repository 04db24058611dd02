"""Trailing windows are what counting by hand gives, now and at any time before."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_lake import PROJECT

from platemill.schema import DERIVED, TABLES, Table, TrailingWindow
from platemill.warehouse.sql_files import derived_sql

SQL = PROJECT / "warehouse" / "sql"
FIRST = date(2027, 12, 20)
# Over a year's edge and a leap day.
DAYS = st.integers(0, 120).map(lambda n: FIRST + timedelta(days=n))
# When a version became known: hours after its day began, also before the day is over.
LATE = st.sampled_from([6, 24, 27, 30, 24 * 3, 24 * 8, 24 * 40, 24 * 200])
# Key, day → hours after which a version came, and what it counted; 0: there is nothing any more.
VERSIONS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b"]), DAYS),
    st.dictionaries(LATE, st.integers(0, 3), min_size=1, max_size=3),
    max_size=8,
)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def row_of(table: Table, key: str, day: date, known: datetime, count: int) -> dict[str, Any]:
    """A day tile's row of which nothing but counts matters; a tombstone if there is none."""
    source = TABLES[str(table.derived_from)]
    values: dict[str, Any] = dict.fromkeys(source.arrow.names)
    if count:
        counted = {name: count for name in source.arrow.names if name in COUNTED}
        values |= {**counted, "days_seen": 1, "last_seen": midnight(day) + timedelta(hours=count)}
        values["confidence_sum"] = count
        values["weekday_sightings"] = count if day.isoweekday() <= 5 else 0
        values = {name: value for name, value in values.items() if name in source.arrow.names}
    times = {"event_timestamp": midnight(day) + timedelta(days=1), "created_timestamp": known}
    return {**values, source.key[0]: key, "day": day, "pipeline_version": "p1", **times}


COUNTED = {"sightings", "images", "plates", "well_formed"}


def versions_of(table: Table, given: Any) -> list[dict[str, Any]]:
    rows = []
    for (key, day), told in given.items():
        for hours, count in sorted(told.items()):
            # Nobody publishes that there is nothing before there was something.
            if count or any(earlier < hours and told[earlier] for earlier in told):
                rows.append(row_of(table, key, day, midnight(day) + timedelta(hours=hours), count))
    return rows


def asked(table: Table, rows: list[dict[str, Any]], *, current: bool) -> list[dict[str, Any]]:
    source = TABLES[str(table.derived_from)]
    schema = pa.schema([field.with_nullable(True) for field in source.arrow])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", pa.Table.from_pylist(rows, schema=schema))
        sql = derived_sql(SQL, table, "SELECT * FROM given", current=current)
        answer = connection.sql(sql).to_arrow_table().cast(table.arrow)
    return answer.to_pylist()


def oracle(table: Table, rows: list[dict[str, Any]], key: str, at: datetime) -> dict[str, Any]:
    """What was known at a time of the windows that end with the last complete day."""
    as_of = at.date() - timedelta(days=1)
    known: dict[date, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["created_timestamp"]):
        if row[table.key[0]] == key and row["created_timestamp"] <= at:
            known[row["day"]] = row
    counted = "sightings" if table.entity == "plate" else "images"
    said: dict[str, Any] = {}
    for days in TrailingWindow:
        inside = [
            row
            for day, row in known.items()
            if as_of - timedelta(days=days) < day <= as_of and row[counted] is not None
        ]
        said[f"{counted}_{days}d"] = sum(row[counted] for row in inside)
        said[f"days_seen_{days}d"] = len(inside)
        share = sum(float(row["confidence_sum"]) for row in inside)
        whole = said[f"{counted}_{days}d"]
        said[f"confidence_mean_{days}d"] = share / whole if whole else None
        if table.entity == "plate":
            said[f"last_seen_{days}d"] = max((row["last_seen"] for row in inside), default=None)
    return said


def answer(table: Table, rows: list[dict[str, Any]], key: str, at: datetime) -> dict[str, Any]:
    """The newest row that was known, as a join that is correct in time picks it."""
    seen = [
        row
        for row in rows
        if row[table.key[0]] == key
        and row["event_timestamp"] <= at
        and row["created_timestamp"] <= at
    ]
    return max(seen, key=lambda row: (row["event_timestamp"], row["created_timestamp"]), default={})


@pytest.mark.parametrize("table", DERIVED, ids=lambda table: table.name)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(versions=VERSIONS, times=st.lists(st.tuples(DAYS, LATE), min_size=1, max_size=12))
@example(versions={("a", FIRST): {27: 2, 72: 1, 192: 0}}, times=[(FIRST, h) for h in (24, 27, 192)])
def test_at_any_time_it_says_what_was_known(table: Table, versions: Any, times: Any) -> None:
    given_rows = versions_of(table, versions)
    rows = asked(table, given_rows, current=False)
    keys = [tuple(row[name] for name in (*table.key, "created_timestamp")) for row in rows]
    assert len(keys) == len(set(keys))
    ends = [midnight(day) + timedelta(hours=hours) for day, hours in times]
    for at in [*ends, *(row["created_timestamp"] for row in rows[:20])]:
        for key in ("a", "b"):
            wanted = oracle(table, given_rows, key, at)
            found = answer(table, rows, key, at)
            said = {name: found.get(name) for name in wanted}
            if not found:
                said = {name: 0 if isinstance(wanted[name], int) else None for name in wanted}
            assert said == wanted, (key, at)


@pytest.mark.parametrize("table", DERIVED, ids=lambda table: table.name)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(versions=VERSIONS)
def test_what_is_true_now_needs_no_versions(table: Table, versions: Any) -> None:
    given_rows = versions_of(table, versions)
    # What is true now of times before now: all of these nights are over.
    newest: dict[Any, dict[str, Any]] = {}
    for row in sorted(given_rows, key=lambda row: row["created_timestamp"]):
        shifted = {
            **row,
            "day": row["day"] - timedelta(days=1500),
            "event_timestamp": row["event_timestamp"] - timedelta(days=1500),
            "created_timestamp": row["created_timestamp"] - timedelta(days=1500),
        }
        newest[row[table.key[0]], row["day"]] = shifted
    counted = "sightings" if table.entity == "plate" else "images"
    current = [row for row in newest.values() if row[counted] is not None]
    rows = asked(table, current, current=True)
    assert len({tuple(row[name] for name in table.key) for row in rows}) == len(rows)
    for row in rows:
        for days in TrailingWindow:
            start = row["as_of"] - timedelta(days=days)
            assert row[f"{counted}_{days}d"] == sum(
                tile[counted]
                for tile in current
                if tile[table.key[0]] == row[table.key[0]] and start < tile["day"] <= row["as_of"]
            )
    assert {row["as_of"] for row in rows} == {
        tile["day"] + timedelta(days=days) for tile in current for days in (0, 7, 28, 90)
    }
