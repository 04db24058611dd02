"""Whatever the order and the number of runs, the tiles are those of one full computation."""

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lake import Photo, draft_night, settings_for

from platemill.lake import Generation, open_lake
from platemill.schema import TABLES, TILES
from platemill.settings import Settings
from platemill.warehouse.duck import rows_of
from platemill.warehouse.publish import publish
from platemill.warehouse.sql_files import derived_sql

# After all of them, so that every period is over and corrections are kept.
FIRST_NIGHT = datetime(2028, 5, 1, 3, tzinfo=UTC)
# Around an ISO year's edge, a leap day and a month's end.
STARTS = [
    datetime(2026, 12, 27, tzinfo=UTC),
    datetime(2027, 1, 3, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2028, 2, 28, 23, tzinfo=UTC),
    datetime(2028, 2, 29, tzinfo=UTC),
]
PLATES = st.tuples(
    st.sampled_from(["A001AA77", "B002BB77", ""]),
    st.floats(0, 1, width=32, allow_subnormal=False),
)
PHOTOS = st.builds(
    Photo,
    uri=st.sampled_from([f"file:///{name}.jpg" for name in "abcdefgh"]),
    camera=st.sampled_from(["c1", "c2"]),
    captured_at=st.builds(
        lambda start, hours: start + timedelta(hours=hours),
        st.sampled_from(STARTS),
        st.integers(0, 30),
    ),
    plates=st.lists(PLATES, max_size=3).map(tuple),
)
# Of one content under several names nothing is said here: what it shows must then be the same.
RUNS = st.lists(
    st.lists(PHOTOS, min_size=1, max_size=5, unique_by=lambda photo: photo.uri),
    min_size=1,
    max_size=3,
)


def content(settings: Settings, generation: Generation) -> dict[str, list[dict[str, Any]]]:
    """Every tile's rows without the time at which they became known."""
    found = {}
    for table in TILES:
        rows = []
        for day, entry in sorted(generation.partitions(table.name).items()):
            part = duckdb.sql(
                "SELECT * EXCLUDE (created_timestamp) FROM read_parquet($file)",
                params={"file": str(settings.lake / entry.path)},
            )
            rows += [{"partition": day, **row} for row in part.to_arrow_table().to_pylist()]
        found[table.name] = rows
    return found


def known_at(
    told: list[tuple[datetime, dict[str, list[dict[str, Any]]]]], at: datetime
) -> list[dict[str, Any]]:
    """The plates' day tiles that had been published by a time."""
    return next((tiles["plate_day_v1"] for night, tiles in reversed(told) if night <= at), [])


def trailing(settings: Settings, generation: Generation) -> list[dict[str, Any]]:
    """All versions of the plates' trailing windows, from current and superseded rows."""
    name = "plate_day_v1"
    entries = list(generation.partitions(name).values())
    for superseded in generation.history.get(name, {}).values():
        entries += superseded
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        source = rows_of(open_lake(settings), TABLES[name], entries)
        sql = derived_sql(settings.sql, TABLES["plate_trailing_v1"], source, current=False)
        return connection.sql(sql).to_arrow_table().to_pylist()


def windows(tiles: list[dict[str, Any]], plate: str, as_of: date) -> dict[str, int]:
    """How often a plate was seen in the windows that end with a day."""
    return {
        f"sightings_{days}d": sum(
            tile["sightings"]
            for tile in tiles
            if tile["plate"] == plate and as_of - timedelta(days=days) < tile["day"] <= as_of
        )
        for days in (7, 28, 90)
    }


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of two rows, so that most of a file is copied and little of it written."""
    monkeypatch.setattr("platemill.warehouse.tiles.GROUP_ROWS", 2)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(runs=RUNS)
def test_tiles_do_not_depend_on_the_order_of_arrival(runs: list[list[Photo]]) -> None:
    told = []
    with tempfile.TemporaryDirectory() as folder:
        by_and_by = settings_for(Path(folder) / "by_and_by")
        at_once = settings_for(Path(folder) / "at_once")
        for number, photos in enumerate(runs):
            at = FIRST_NIGHT + timedelta(days=number)
            grown = publish(by_and_by, draft_night(by_and_by, photos, f"r{number}", now=at))
            told.append((at, content(by_and_by, grown)))
        last = {photo.uri: photo for photos in runs for photo in photos}
        whole = publish(at_once, draft_night(at_once, list(last.values())))
        assert content(by_and_by, grown) == content(at_once, whole)
        rows = trailing(by_and_by, grown)
    check_windows(rows, told)


def check_windows(rows: list[dict[str, Any]], told: list[Any]) -> None:
    """At any time since the first night the windows are those of what was published then."""
    for at in [night + timedelta(hours=hours) for night, _ in told for hours in (0, 21, 400)]:
        for plate in ("A001AA77", "B002BB77"):
            seen = [
                row
                for row in rows
                if row["plate"] == plate
                and row["event_timestamp"] <= at
                and row["created_timestamp"] <= at
            ]
            found = max(
                seen, key=lambda row: (row["event_timestamp"], row["created_timestamp"]), default={}
            )
            wanted = windows(known_at(told, at), plate, at.date() - timedelta(days=1))
            assert {name: found.get(name, 0) for name in wanted} == wanted
