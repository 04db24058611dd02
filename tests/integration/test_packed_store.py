"""The packed SQLite store with real Feast: its own reader, its commands, deaths, and samples."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_lake import NIGHT, Photo, at, draft_night, later, settings_for

from platemill.errors import CheckFailed
from platemill.features import sqlite_target
from platemill.features.catalog import entity_named
from platemill.features.encode import encode_entity_key
from platemill.features.gate import compare_published
from platemill.features.online import StagedOnline, finish_online, stage_online
from platemill.features.parity import Limits
from platemill.features.reader import entity_layout, open_reader
from platemill.lake import open_lake
from platemill.settings import Settings
from platemill.warehouse.publish import publish

PLATES = [f"A{number:03}AA77" for number in range(60)]
PHOTOS = [
    Photo(f"file:///c{n % 7}/{n}.jpg", f"c{n % 7}", at(f"2026-0{3 + n % 3}-10 10:00"), ((p, 0.5),))
    for n, p in enumerate(PLATES)
]
NEWER = Photo("file:///c2/n.jpg", "c2", at("2026-05-20 11:00"), ((PLATES[0], 0.7),))


def whole_night(settings: Settings, photos: list[Photo], number: int) -> StagedOnline:
    draft = draft_night(settings, photos, f"r{number}", now=later(number))
    staged = stage_online(settings, draft)
    publish(settings, draft)
    assert finish_online(settings)
    return staged


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of one night."""
    settings = settings_for(tmp_path_factory.mktemp("pattern") / "home")
    whole_night(settings, PHOTOS, 0)
    return settings.home


@pytest.fixture
def settings(pattern: Path, tmp_path: Path) -> Settings:
    """A copy of it."""
    shutil.copytree(pattern, tmp_path / "home")
    return settings_for(tmp_path / "home")


@pytest.fixture(autouse=True)
def on_the_first_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is expired yet."""
    monkeypatch.setattr("platemill.features.online_store.now", lambda: NIGHT)


def opened(settings: Settings) -> Any:
    from platemill.features.store import open_store

    return open_store(settings)


def entity(key: str) -> Any:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=["plate"], entity_values=[Value(string_val=key)])


def test_feast_s_own_store_reads_it_by_its_key(settings: Settings) -> None:
    from feast import FeatureStore, RepoConfig
    from feast.infra.online_stores.sqlite import SqliteOnlineStore, _initialize_conn

    from platemill.features.store import store_configuration

    written = store_configuration(settings)
    path = written["online_store"]["path"]
    written["online_store"] = {"type": "sqlite", "path": path}
    stock = FeatureStore(config=RepoConfig(**written, repo_path=settings.project / "feature_repo"))
    assert type(stock._get_provider().online_store) is SqliteOnlineStore
    asked = {"plate": [PLATES[7], "nobody", PLATES[3]]}
    service = stock.get_feature_service("plate_lookup_v1")
    answers = [
        store.get_online_features(service, asked, full_feature_names=True).to_dict()
        for store in (stock, opened(settings))
    ]
    assert answers[0] == answers[1]
    assert answers[0]["plate_day_v1__last_camera"] == ["c0", None, "c3"]

    statements: list[str] = []
    with closing(_initialize_conn(path)) as database:
        database.set_trace_callback(statements.append)
        reader = SqliteOnlineStore()
        reader._conn = database
        view = stock.get_feature_view("plate_day_v1")
        reader.online_read(stock.config, view, [entity(PLATES[0]), entity(PLATES[1])])
        database.set_trace_callback(None)
        [asked_for] = [said for said in statements if said.startswith("SELECT")]
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {asked_for}")]
    touched = [step for step in plan if "packed_" in step]
    assert len(touched) == len(view.features)
    assert all(step.startswith("SEARCH") and "PRIMARY KEY" in step for step in touched)


def test_one_view_s_row_is_read_by_one_statement(settings: Settings) -> None:
    store = opened(settings)
    online = store._get_provider().online_store
    view = store.get_feature_view("plate_day_v1")
    statements: list[str] = []
    online._get_conn(store.config).set_trace_callback(statements.append)
    wanted = ["sightings", "last_camera"]
    keys = [entity(PLATES[0]), entity("nobody"), entity(PLATES[1])]
    first, second, third = online.online_read(store.config, view, keys, wanted)
    assert len(statements) == 1
    assert second == (None, None)
    assert set(first[1]) == set(third[1]) == set(wanted)
    assert first[0] == at("2026-03-11 00:00")
    # As many keys as SQLite takes parameters, and more.
    many = [entity(f"X{number}") for number in range(33_000)]
    answers = online.online_read(store.config, view, [*many, entity(PLATES[5])], wanted)
    assert [row for row in answers if row[0] is not None] == [answers[-1]]


def test_raw_rows_come_with_the_generation_that_they_are_of(settings: Settings) -> None:
    layout = entity_layout(entity_named("plate"))
    with closing(open_reader(settings)) as reader:
        stamp, rows = reader.read(layout, [PLATES[0], "nobody"])
        event = reader.seconds(rows[0][layout.views[0].time])
    assert stamp.is_of(open_lake(settings).current())
    assert [[row[v.time] is not None for row in rows] for v in layout.views] == [[True, False]] * 3
    store = opened(settings)
    online = store._get_provider().online_store
    packed = online.packed(store.config, store.get_feature_view("plate_day_v1"))
    key = encode_entity_key(PLATES[0], "plate")
    stored = packed.read(online._get_conn(store.config), [key])[key]
    assert stored[:2] == (int(at("2026-03-11 00:00").timestamp()), int(NIGHT.timestamp()))
    assert (event, *stored[2]) == (stored[0], *rows[0][1 : layout.views[0].end])


def test_an_expired_row_is_not_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(settings)
    for moment, found in (("2026-06-09 00:00:00", 1), ("2026-06-09 00:00:01", None)):
        monkeypatch.setattr("platemill.features.online_store.now", lambda m=moment: at(m))
        answer = store.get_online_features(
            ["plate_day_v1:sightings", "plate_month_v1:sightings"],
            [{"plate": PLATES[0]}],
            full_feature_names=True,
        ).to_dict()
        assert answer["plate_day_v1__sightings"] == [found]
        assert answer["plate_month_v1__sightings"] == [1]


def test_what_feast_writes_by_hand_is_read_and_written_over(settings: Settings) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    store = opened(settings)
    online = store._get_provider().online_store
    view = store.get_feature_view("plate_day_v1")
    row = {"sightings": Value(int64_val=7), "last_camera": Value(string_val="c9")}
    progress: list[int] = []
    online.online_write_batch(
        store.config, view, [(entity("HAND"), row, NIGHT, None)], progress.append
    )
    naive = NIGHT.replace(tzinfo=None)
    online.online_write_batch(
        store.config, view, [(entity(PLATES[0]), row, naive, naive)], progress.append
    )
    assert progress == [1, 1]
    asked = {"plate": ["HAND", PLATES[0]]}
    answer = store.get_online_features(
        ["plate_day_v1:sightings", "plate_day_v1:last_camera", "plate_day_v1:first_camera"], asked
    ).to_dict()
    assert answer["sightings"] == [7, 7]
    # What was not given stays.
    assert answer["first_camera"] == [None, "c0"]
    connection = online._get_conn(store.config)
    assert online.packed(store.config, view).count(connection) == 61
    with pytest.raises(CheckFailed, match="1 of 60 rows mismatch, 0 are missing, 1 are extra"):
        compare_published(settings)
    assert whole_night(settings, [NEWER], 1).full
    assert compare_published(settings) == 60 * 3 + 7 * 3 + 61


def test_definitions_that_change_change_the_tables(settings: Settings) -> None:
    from feast import Field
    from feast.types import Int64

    store = opened(settings)
    online = store._get_provider().online_store
    view = store.get_feature_view("plate_day_v1")
    view.features.append(Field(name="another", dtype=Int64))
    online.update(store.config, [], [view], [], [], True)
    online.update(store.config, [], [view], [], [], True)
    found = online.online_read(store.config, view, [entity(PLATES[0])])
    assert found[0][1]["another"].WhichOneof("val") is None
    stock = online.stock_read(store.config, view, [entity(PLATES[0])])
    assert stock[0][1] == found[0][1]
    assert online.plan(store.config, None) == []
    online.update(store.config, [view], [], [], [], True)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        online.online_read(store.config, view, [entity(PLATES[0])])


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(("same_boot", "left"), [(True, 262 - 9 * 10), (False, 262)])
def test_work_that_was_killed_half_way_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_boot: bool, left: int
) -> None:
    settings = settings_for(tmp_path / "other")
    monkeypatch.setattr("platemill.features.write._CHUNK", 10)
    seen: list[Any] = []

    def die(progress: Any) -> None:
        seen.append(progress)
        if len(seen) == 9:
            raise Died

    draft = draft_night(settings, [*PHOTOS, NEWER], "r0")
    with pytest.raises(Died):
        stage_online(settings, draft, progress=die)
    assert (seen[5].done, seen[5].total) == (60, 60)
    if not same_boot:
        # What the disk was not asked to keep is not believed after a power cut.
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr(sqlite_target, "_BOOT", tmp_path / "boot")
    # Another run of the same content, as a rollback that is run again.
    again = replace(draft, generation=replace(draft.generation, run_id="again"))
    staged = stage_online(settings, again)
    assert (staged.full, staged.written, staged.compared) == (True, left, 262)
    publish(settings, again)
    finish_online(settings)
    assert compare_published(settings) == 262


def test_other_work_begins_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platemill.features.write._CHUNK", 1)

    def die(_progress: Any) -> None:
        raise Died

    with pytest.raises(Died):
        stage_online(settings, draft_night(settings, [NEWER], "dies", now=later(1)), progress=die)
    other = replace(NEWER, camera="c9")
    staged = whole_night(settings, [other], 2)
    assert (staged.full, staged.written) == (False, 3 + 3 + 1)
    assert compare_published(settings) == 60 * 3 + 8 * 3 + 61


SAMPLE = Limits(all_rows=20, least=2, chunk=7, asked=3)


def spoil(settings: Settings, statement: str) -> None:
    table = "packed_platemill_image_recognitions_v1"
    with closing(sqlite3.connect(settings.features / "online_store.db")) as database, database:
        assert database.execute(statement.format(t=table)).rowcount > 0


def test_of_a_large_view_a_sample_is_compared_and_all_keys_are_counted(settings: Settings) -> None:
    # Images and plates are more than twenty: about twenty are compared, of each month some.
    compared = compare_published(settings, SAMPLE)
    assert 4 * 20 + 7 * 3 <= compared <= 4 * 23 + 7 * 3
    assert compare_published(settings, replace(SAMPLE, all_rows=60)) == 60 * 4 + 7 * 3
    # A stratum's least is there, however small the sample.
    # All cameras' latest rows are of one month.
    assert compare_published(settings, replace(SAMPLE, all_rows=1, least=1)) == 3 * 4 + 3
    spoil(settings, "UPDATE {t} SET plates = X'2007'")
    with pytest.raises(CheckFailed, match=r"(\d+) of \1 rows mismatch"):
        compare_published(settings, SAMPLE)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM {t} WHERE entity_key = (SELECT max(entity_key) FROM {t})", "1 are missing"),
        ("DELETE FROM {t} WHERE plates = X'2001'", "60 are missing"),
        (
            "INSERT INTO {t} (entity_key, event_ts) SELECT X'00', event_ts FROM {t} LIMIT 1",
            "1 are extra",
        ),
    ],
)
def test_a_sample_misses_no_key(settings: Settings, statement: str, text: str) -> None:
    spoil(settings, statement)
    with pytest.raises(CheckFailed, match=text):
        compare_published(settings, SAMPLE)
