"""Whatever the order and the number of runs, the tiles are those of one full computation."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lake import Photo, draft_night, later, settings_for

from platemill.lake import Generation
from platemill.schema import TILES
from platemill.settings import Settings
from platemill.warehouse.publish import publish

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


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=RUNS)
def test_tiles_do_not_depend_on_the_order_of_arrival(runs: list[list[Photo]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        by_and_by = settings_for(Path(folder) / "by_and_by")
        at_once = settings_for(Path(folder) / "at_once")
        for number, photos in enumerate(runs):
            grown = publish(
                by_and_by, draft_night(by_and_by, photos, f"r{number}", now=later(number))
            )
        last = {photo.uri: photo for photos in runs for photo in photos}
        whole = publish(at_once, draft_night(at_once, list(last.values())))
        assert content(by_and_by, grown) == content(at_once, whole)
