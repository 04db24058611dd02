"""Training sets with real Feast: correct in time, before and after tiles are corrected."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from small_lake import PROJECT, Photo, at, night, settings_for
from typer.testing import CliRunner

from platemill.cli import app
from platemill.features.catalog import OFFLINE_VIEWS, SERVICES, TRAINING_SERVICES, VIEWS
from platemill.features.store import open_store
from platemill.lake import Generation
from platemill.schema import TABLES, Table
from platemill.settings import QUIET_ENVIRONMENT, Settings

# ibis 12 asks DuckDB 2.0 for Arrow by the name that 1.x had; Feast 0.67 wants that ibis.
IBIS_WARNING = "fetch_arrow_table"
pytestmark = pytest.mark.filterwarnings(f"ignore:{IBIS_WARNING}:DeprecationWarning")

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9), ("B002BB77", 0.8)))
A2 = Photo("file:///c2/a2.jpg", "c2", at("2026-05-02 10:00"), (("A001AA77", 0.7),))
LATE = Photo("file:///c3/late.jpg", "c3", at("2026-05-01 12:00"), (("A001AA77", 0.5),))
NEXT = Photo("file:///c1/next.jpg", "c1", at("2026-05-09 09:00"), (("A001AA77", 0.6),))
NIGHTS = [
    ("2026-05-03 03:00", [A, A2]),
    ("2026-05-08 03:00", [LATE]),
    ("2026-05-10 03:00", [NEXT]),
    # Corrected once more: it had no plate at all.
    ("2026-05-12 03:00", [replace(LATE, plates=(("A001AA77", 0.4), ("B002BB77", 0.3)))]),
]
DAY = timedelta(days=1)
TIMES = [at("2026-05-01 00:00") + timedelta(hours=7 * step) for step in range(50)]
TIMES += [at("2026-05-03 03:00"), at("2026-05-08 03:00"), at("2026-05-10 00:00")]
TIMES += [at("2026-07-31 00:00"), at("2026-08-01 00:00"), at("2027-06-01 00:00")]


@dataclass
class Told:
    """What was known after a night, and the training set that was made then."""

    generation: Generation
    rows: dict[str, list[dict[str, Any]]]
    training: pd.DataFrame


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def told(settings: Settings) -> list[Told]:
    settings.features.mkdir(parents=True)
    store = open_store(settings)
    from platemill.features.definitions import definitions

    store.apply(list(definitions().values()))
    history = []
    for number, (when, photos) in enumerate(NIGHTS):
        generation = night(settings, photos, f"r{number}", now=at(when))
        rows = {
            name: tile_rows(settings, generation, name)
            for name in ("plate_day_v1", "plate_week_v1")
        }
        history.append(Told(generation, rows, training_set(store)))
    return history


def tile_rows(settings: Settings, generation: Generation, table: str) -> list[dict[str, Any]]:
    paths = [str(settings.lake / e.path) for e in generation.partitions(table).values()]
    found = duckdb.sql("FROM read_parquet($files)", params={"files": paths})
    rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return rows


def entities() -> pd.DataFrame:
    keys = [(plate, time) for plate in ("A001AA77", "B002BB77", "Z999ZZ99") for time in TIMES]
    return pd.DataFrame(keys, columns=["plate", "event_timestamp"])


def training_set(store: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        # The marker above does not reach a module's fixture.
        warnings.filterwarnings("ignore", IBIS_WARNING, DeprecationWarning)
        job = store.get_historical_features(
            entity_df=entities(),
            features=[
                "plate_day_v1:sightings",
                "plate_day_v1:last_camera",
                "plate_week_v1:sightings",
                "plate_week_v1:cameras",
            ],
            full_feature_names=True,
        )
        frame: pd.DataFrame = job.to_df()
    return frame.sort_values(["plate", "event_timestamp"], ignore_index=True)


def oracle(told: list[Told], table: Table, plate: str, time: datetime) -> dict[str, Any] | None:
    """The newest complete period of what the last night before a time had published."""
    known = [night for night in told if night.generation.created_at <= time]
    if not known:
        return None
    assert table.ttl is not None
    rows = [
        row
        for row in known[-1].rows[table.name]
        if row["plate"] == plate
        and row["event_timestamp"] <= time <= row["event_timestamp"] + table.ttl
    ]
    return max(rows, key=lambda row: row["event_timestamp"], default=None)


def plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def test_each_row_is_what_was_known_at_its_time(told: list[Told]) -> None:
    found = told[-1].training
    assert len(found) == 3 * len(TIMES)
    answered = 0
    for row in found.to_dict("records"):
        time = row["event_timestamp"].to_pydatetime()
        for view, names in (
            ("plate_day_v1", ("sightings", "last_camera")),
            ("plate_week_v1", ("sightings", "cameras")),
        ):
            wanted = oracle(told, TABLES[view], row["plate"], time)
            for name in names:
                assert plain(row[f"{view}__{name}"]) == (wanted and wanted[name]), (row, view, name)
            answered += wanted is not None
    # Both kinds are there, or nothing was shown.
    assert 50 < answered < 2 * len(found) - 50


def test_corrections_are_seen_from_when_they_were_known(told: list[Told]) -> None:
    week = told[-1].training.query("plate == 'A001AA77'").set_index("event_timestamp")
    seen = week["plate_week_v1__cameras"]
    assert seen[at("2026-05-04 12:00")] == 2
    assert seen[at("2026-05-08 03:00")] == 3


@pytest.mark.parametrize("earlier", range(len(NIGHTS) - 1))
def test_a_training_set_is_the_same_after_a_backfill(told: list[Told], earlier: int) -> None:
    until = told[earlier + 1].generation.created_at
    before, after = (
        frame[frame["event_timestamp"] < until].reset_index(drop=True)
        for frame in (told[earlier].training, told[-1].training)
    )
    assert len(before) > 3
    pd.testing.assert_frame_equal(before, after)


def test_before_the_first_night_everything_is_null(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    settings.features.mkdir(parents=True)
    store = open_store(settings)
    from platemill.features.definitions import definitions

    store.apply(list(definitions().values()))
    found = training_set(store)
    assert len(found) == 3 * len(TIMES)
    assert found["plate_day_v1__sightings"].isna().all()


def test_a_key_that_lost_its_row_is_null_from_then_on(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    settings.features.mkdir(parents=True)
    store = open_store(settings)
    from platemill.features.definitions import definitions

    store.apply(list(definitions().values()))
    night(settings, [A], "r1", now=at("2026-05-03 03:00"))
    night(settings, [replace(A, plates=())], "r2", now=at("2026-05-06 03:00"))
    found = training_set(store).query("plate == 'A001AA77'").set_index("event_timestamp")
    seen = found["plate_day_v1__sightings"]
    assert seen[at("2026-05-03 03:00")] == 1
    assert seen[(seen.index > at("2026-05-06 03:00"))].isna().all()


def test_every_object_says_what_it_is(told: list[Told], settings: Settings) -> None:
    store = open_store(settings)
    views = {view.name: view for view in store.list_feature_views()}
    assert set(views) == {table.name for table in (*VIEWS, *OFFLINE_VIEWS)}
    for table in (*VIEWS, *OFFLINE_VIEWS):
        view = views[table.name]
        assert view.online == (table in VIEWS)
        assert view.description == table.description
        assert view.owner == table.owner
        assert view.ttl == table.ttl
        assert view.tags["grain"] == table.tags["grain"]
        assert view.batch_source.table == table.name
        assert {field.name: field.description for field in view.features} == {
            column.name: column.description for column in table.features
        }
        for field in view.features:
            assert field.tags["unit"] == (table.column(field.name).unit or "none")
    services = {service.name: service for service in store.list_feature_services()}
    assert set(services) == {service.name for service in (*SERVICES, *TRAINING_SERVICES)}
    for service in services.values():
        assert service.description
        assert service.owner
    assert all(entity.description for entity in store.list_entities() if entity.name != "__dummy")


def test_the_examples_of_the_page_run(
    told: list[Told], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "training-sets.md").read_text()
    (tmp_path / "home").symlink_to(settings.home)
    (tmp_path / "asked.csv").write_text(
        "plate,event_timestamp\nA001AA77,2026-05-02 12:00:00\nZ999ZZ99,2026-05-02\n"
    )
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^platemill (training-set .+)$", page, re.MULTILINE):
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code == 0, done.output
    (sql,) = re.findall(r"```sql\n(.+?)```", page, re.DOTALL)
    with duckdb.connect(settings.warehouse_file, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = sorted(connection.sql(sql).fetchall())
    assert [(plate, sightings) for plate, _, sightings in found] == [
        ("A001AA77", 2),
        ("Z999ZZ99", None),
    ]
    blocks = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        # Feast sets filters of its own when it is imported.
        warnings.filterwarnings("ignore", IBIS_WARNING, DeprecationWarning)
        for block in blocks:
            exec(block, names)
    assert "plate_trailing_v1__sightings_28d" in names["frame"]
    assert names["store"].config.offline_store.corrected_past


def test_plain_feast_apply_and_materialize(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    # Of late: what is long ago has expired, and the online store does not answer with it.
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 4 * DAY
    photos = [replace(A, captured_at=first), replace(A2, captured_at=first + DAY)]
    night(settings, photos, now=first + 2.1 * DAY)
    settings.features.mkdir()
    feast = Path(sys.executable).with_name("feast")
    environment = {**os.environ, **QUIET_ENVIRONMENT, "PLATEMILL_HOME": str(settings.home)}

    def call(*arguments: str) -> None:
        done = subprocess.run(
            [str(feast), *arguments],
            cwd=PROJECT / "feature_repo",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    call("apply")
    # Feast's own materialisation works over the manifests too.
    window = [f"{time:%Y-%m-%dT%H:%M:%S}" for time in (first, first + 3.5 * DAY)]
    call("materialize", *window, "--views", "plate_day_v1")
    store = open_store(settings)
    answer = store.get_online_features(
        features=["plate_day_v1:sightings"], entity_rows=[{"plate": "A001AA77"}]
    ).to_dict()
    assert answer["sightings"] == [1]
    # And the nightly way goes on from there.
    from platemill.features.lookup import lookup
    from platemill.features.online import finish_online

    assert finish_online(settings)
    assert lookup(settings, "plate", ["B002BB77"])[0]["found"]
