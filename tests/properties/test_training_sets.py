"""Feast's way and ours find what a search through every version finds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_versions import (
    Version,
    brute_force,
    brute_force_windows,
    first_days,
    publish_versions,
    some_value,
)
from small_lake import settings_for

from platemill.features.store import open_store
from platemill.features.training_set import TrainingRequest, build_training_set
from platemill.lake import open_lake
from platemill.schema import TABLES, Table
from platemill.settings import Settings

IBIS_WARNING = "fetch_arrow_table"
VIEWS = [TABLES[f"plate_{period}_v1"] for period in ("day", "week", "month")]
COLUMNS = ("sightings", "last_camera", "first_seen")
KEYS = ["A001AA77", "B002BB77"]
TICK = timedelta(microseconds=1)
# Around a month's, an ISO week's and a leap day's end.
AROUND = date(2028, 2, 27)
# Before the period's end, at it, and up to after the next one's.
DELAYS = [timedelta(days=-2), timedelta(0), TICK, timedelta(hours=3), timedelta(days=1)]
DELAYS += [timedelta(days=8), timedelta(days=40), timedelta(days=100)]


TRAILING = TABLES["plate_trailing_v1"]
TRAILING_COLUMNS = [
    f"plate_trailing_v1__{name}_{days}d"
    for name in ("sightings", "days_seen", "last_seen")
    for days in (7, 28, 90)
]
# As far apart as windows are long, and a little less and more.
APART = [0, 1, 6, 7, 8, 27, 28, 29, 62, 89, 90, 91, 97, 200]


@dataclass(frozen=True)
class Case:
    versions: dict[str, list[Version]]
    asked: list[tuple[str | None, datetime | None]]


@st.composite
def _versions(draw: st.DrawFn, table: Table) -> list[Version]:
    """Up to a dozen versions, no two of which share key, period and creation."""
    found: dict[tuple[str, date, datetime], Version] = {}
    for number in range(draw(st.integers(0, 12))):
        key, start = draw(st.sampled_from(KEYS)), draw(st.sampled_from(first_days(table, AROUND)))
        end = Version(key, start, datetime.now(UTC), None).event(table)
        created = end + draw(st.sampled_from(DELAYS))
        value = draw(st.sampled_from([number, number, number, None]))
        pipeline = draw(st.sampled_from(["p1"] * 7 + ["p0"]))
        found[key, start, created] = Version(key, start, created, value, pipeline)
    return list(found.values())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    versions = {table.name: draw(_versions(table)) for table in VIEWS}
    edges = {datetime(2028, 2, 28, 12, tzinfo=UTC)}
    for table in VIEWS:
        assert table.ttl is not None
        for version in versions[table.name]:
            event = version.event(table)
            edges |= {event, version.created, event + table.ttl}
    moments = st.sampled_from(sorted(edges)).flatmap(
        lambda edge: st.sampled_from([edge - TICK, edge, edge + TICK])
    )
    keys = st.sampled_from([*KEYS, *KEYS, *KEYS, "Z999ZZ99", None])
    rows = draw(st.lists(st.tuples(keys, moments | moments | moments | st.none()), max_size=40))
    # Duplicates are asked for as well.
    return Case(versions, rows + rows[: draw(st.integers(0, 5))])


@st.composite
def trailing_cases(draw: st.DrawFn) -> Case:
    """Versions of days as far apart as windows are long."""
    found: dict[tuple[str, date, datetime], Version] = {}
    edges = {datetime(2028, 2, 28, 12, tzinfo=UTC)}
    for number in range(draw(st.integers(0, 8))):
        key = draw(st.sampled_from([KEYS[0], *KEYS]))
        start = AROUND + timedelta(days=draw(st.sampled_from(APART)))
        end = Version(key, start, datetime.now(UTC), None).event(TABLES["plate_day_v1"])
        created = end + draw(st.sampled_from(DELAYS))
        value = draw(st.sampled_from([number + 1, number + 1, None]))
        pipeline = draw(st.sampled_from(["p1"] * 7 + ["p0"]))
        found[key, start, created] = Version(key, start, created, value, pipeline)
        edges |= {end + timedelta(days=days) for days in (0, 7, 28, 90, 180)} | {created}
    moments = st.sampled_from(sorted(edges)).flatmap(
        lambda edge: st.sampled_from([edge - TICK, edge, edge + TICK])
    )
    keys = st.sampled_from([KEYS[0], *KEYS, KEYS[0], "Z999ZZ99", None])
    rows = draw(st.lists(st.tuples(keys, moments | moments | moments | st.none()), max_size=40))
    return Case({"plate_day_v1": list(found.values())}, rows)


def entity_frame(case: Case) -> pd.DataFrame:
    times = pa.array([moment for _, moment in case.asked], pa.timestamp("us", tz="UTC"))
    return pd.DataFrame(
        {
            "plate": pd.array([key for key, _ in case.asked], dtype="object"),
            "event_timestamp": times.to_pandas(),
            "label": range(len(case.asked)),
        }
    )


def wanted(case: Case, *, corrected_past: bool) -> list[dict[str, Any]]:
    rows = []
    for key, moment in case.asked:
        row: dict[str, Any] = {}
        for table in VIEWS:
            found = brute_force(
                table, case.versions[table.name], key, moment, corrected_past=corrected_past
            )
            for name in COLUMNS:
                kind = table.column(name).type
                row[f"{table.name}__{name}"] = None if found is None else some_value(kind, found)
        rows.append(row)
    return rows


def wanted_windows(case: Case, *, corrected_past: bool) -> list[dict[str, Any]]:
    rows = []
    last_seen = TABLES["plate_day_v1"].column("last_seen").type
    for key, moment in case.asked:
        windows = brute_force_windows(
            case.versions["plate_day_v1"], key, moment, corrected_past=corrected_past
        )
        row: dict[str, Any] = dict.fromkeys(TRAILING_COLUMNS)
        for days, versions in (windows or {}).items():
            # Of made versions every count says the same.
            total = sum(version.value or 0 for version in versions)
            seen = [some_value(last_seen, version.value or 0) for version in versions]
            row[f"plate_trailing_v1__sightings_{days}d"] = total
            row[f"plate_trailing_v1__days_seen_{days}d"] = total
            row[f"plate_trailing_v1__last_seen_{days}d"] = max(seen, default=None)
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def stores(home: Settings) -> Iterator[dict[bool, Any]]:
    """Feast over the home as it comes, and asked for the corrected past."""
    from platemill.features.definitions import definitions

    home.features.mkdir(parents=True)
    open_store(home).apply(list(definitions().values()))
    yield {corrected: open_store(home, corrected_past=corrected) for corrected in (False, True)}


def feasts(store: Any, case: Case, names: list[str]) -> pa.Table:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", IBIS_WARNING, DeprecationWarning)
        job = store.get_historical_features(
            entity_df=entity_frame(case),
            features=[name.replace("__", ":") for name in names],
            full_feature_names=True,
        )
        found = job.to_arrow().sort_by("label")
    assert found["label"].to_pylist() == list(range(len(case.asked)))
    return found.select(names)


def ours(
    home: Settings, case: Case, *, corrected_past: bool, service: str = "plate_lookup_v1"
) -> pa.Table:
    entities, out = home.home / "asked.parquet", home.home / "out.parquet"
    table = pa.table(
        {
            "label": pa.array(range(len(case.asked)), pa.int16()),
            "plate": pa.array([key for key, _ in case.asked], pa.string()),
            "event_timestamp": pa.array(
                [moment for _, moment in case.asked], pa.timestamp("us", tz="UTC")
            ),
        }
    )
    pq.write_table(table, entities, row_group_size=7)
    request = TrainingRequest(entities, out, services=[service], corrected_past=corrected_past)
    said = build_training_set(home, request)
    found = pq.read_table(out)
    # What was passed in comes out untouched and in its place.
    assert found.select(table.column_names).equals(table)
    for view in said["views"].values():
        kinds = ("matched", "expired", "deleted", "nothing")
        assert sum(view[kind] for kind in kinds) == len(case.asked)
    for table in VIEWS:
        matched = found.num_rows - found[f"{table.name}__sightings"].null_count
        assert said["views"][table.name]["matched"] == matched
    return found


@given(case=cases(), corrected_past=st.booleans())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_our_join_finds_what_a_search_finds(
    home: Settings, case: Case, corrected_past: bool
) -> None:
    publish_versions(open_lake(home), case.versions)
    found = ours(home, case, corrected_past=corrected_past)
    rows = wanted(case, corrected_past=corrected_past)
    names = [f"{table.name}__{name}" for table in VIEWS for name in COLUMNS]
    assert found.select(names).to_pylist() == [{name: row[name] for name in names} for row in rows]


@given(case=cases(), corrected_past=st.booleans())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_feasts_join_finds_what_a_search_finds(
    stores: dict[bool, Any], home: Settings, case: Case, corrected_past: bool
) -> None:
    case = Case(case.versions, [*case.asked, ("Z999ZZ99", datetime(2028, 3, 1, tzinfo=UTC))])
    publish_versions(open_lake(home), case.versions)
    names = [f"{table.name}__{name}" for table in VIEWS for name in COLUMNS]
    found = feasts(stores[corrected_past], case, names)
    rows = wanted(case, corrected_past=corrected_past)
    assert found.to_pylist() == [{name: row[name] for name in names} for row in rows]
    # And what Feast finds is what our command finds, value by value.
    mine = ours(home, case, corrected_past=corrected_past)
    assert mine.select(names).to_pylist() == found.to_pylist()


@given(case=trailing_cases(), corrected_past=st.booleans())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_our_trailing_windows_are_what_was_known_of_their_days(
    home: Settings, case: Case, corrected_past: bool
) -> None:
    publish_versions(open_lake(home), case.versions)
    found = ours(home, case, corrected_past=corrected_past, service="plate_history_v1")
    rows = wanted_windows(case, corrected_past=corrected_past)
    assert found.select(TRAILING_COLUMNS).to_pylist() == rows


@given(case=trailing_cases(), corrected_past=st.booleans())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_feasts_trailing_windows_are_what_was_known_of_their_days(
    stores: dict[bool, Any], home: Settings, case: Case, corrected_past: bool
) -> None:
    case = Case(case.versions, [*case.asked, ("Z999ZZ99", datetime(2028, 3, 1, tzinfo=UTC))])
    publish_versions(open_lake(home), case.versions)
    found = feasts(stores[corrected_past], case, TRAILING_COLUMNS)
    assert found.to_pylist() == wanted_windows(case, corrected_past=corrected_past)


def test_asking_for_the_filter_overrules_the_corrected_past(
    stores: dict[bool, Any], home: Settings
) -> None:
    start = date(2028, 2, 1)
    late = datetime(2028, 2, 20, tzinfo=UTC)
    publish_versions(open_lake(home), {"plate_day_v1": [Version("A001AA77", start, late, value=7)]})
    frame = pd.DataFrame({"plate": ["A001AA77"], "event_timestamp": [late - timedelta(days=1)]})

    def found(store: Any, **given: bool) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", IBIS_WARNING, DeprecationWarning)
            job = store.get_historical_features(
                entity_df=frame.copy(), features=["plate_day_v1:sightings"], **given
            )
            return job.to_arrow()["sightings"].to_pylist()

    assert found(stores[False]) == [None]
    assert found(stores[True]) == [7]
    assert found(stores[True], filter_by_created_timestamp=True) == [None]
