"""The online store with real Feast: what a night changes is written, compared and served."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_lake import NIGHT, Photo, at, draft_night, inventory_of, later, settings_for

from platemill.errors import CheckFailed, ConfigurationError
from platemill.features.catalog import VIEWS
from platemill.features.lookup import Lookup, lookup
from platemill.features.online import StagedOnline, finish_online, stage_online
from platemill.features.stamp import read_stamp
from platemill.lake import Generation, open_lake
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.draft import Draft
from platemill.warehouse.publish import publish

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00:01.25"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c2/b.jpg", "c2", at("2026-05-06 11:00"), (("B002BB77", 0.8),))
NEWER = Photo("file:///c2/n.jpg", "c2", at("2026-05-20 11:00"), (("A001AA77", 0.7),))
LATE = Photo("file:///c3/l.jpg", "c3", at("2026-05-01 12:00"), (("A001AA77", 0.5),))
EMPTY = Photo("file:///c3/e.jpg", "c3", at("2026-05-01 13:00"))
BROKEN = Photo("file:///c3/x.jpg", "c3", at("2026-05-01 14:00"), reason="truncated")


@pytest.fixture(autouse=True)
def on_the_first_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is expired yet."""
    monkeypatch.setattr("platemill.features.online_store.now", lambda: NIGHT)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def publish_night(
    settings: Settings, photos: list[Photo], number: int, pipeline: str = "p1"
) -> tuple[Generation, StagedOnline]:
    draft = draft_night(settings, photos, f"r{number}", pipeline, later(number))
    run_checks(settings, draft, inventory_of(photos))
    staged = stage_online(settings, draft)
    generation = publish(settings, draft)
    assert finish_online(settings)
    return generation, staged


def features(row: dict[str, Any], view: str) -> dict[str, Any]:
    prefix = f"{view}__"
    return {name[len(prefix) :]: value for name, value in row.items() if name.startswith(prefix)}


def test_a_night_is_looked_up(settings: Settings) -> None:
    publish_night(settings, [A, B, EMPTY, BROKEN], 0)
    ask = Lookup(settings, clock=NIGHT.timestamp)
    known, unknown = ask("plate", ["A001AA77", "Z999ZZ99"])
    assert (known["key"], known["found"], known["generation"]) == ("A001AA77", True, 1)
    assert known["event_timestamp"] == at("2026-06-01 00:00")
    week = features(known, "plate_week_v1")
    assert week == {
        "sightings": 1,
        "cameras": 1,
        "days_seen": 1,
        "hours": [0] * 10 + [1] + [0] * 13,
        "weekday_share": 1.0,
        "gap_max_seconds": None,
        "gap_mean_seconds": None,
        "first_seen": at("2026-05-01 10:00:01"),
        "last_seen": at("2026-05-01 10:00:01"),
        "first_camera": "c1",
        "last_camera": "c1",
        "confidence_max": pytest.approx(0.9),
        "confidence_mean": pytest.approx(0.9),
        "confidence_variance": 0.0,
    }
    assert not unknown["found"]
    assert unknown["event_timestamp"] is None
    assert set(features(unknown, "plate_day_v1").values()) == {None}
    assert list(unknown) == list(known)

    [camera] = ask("camera", ["c3"])
    assert features(camera, "camera_day_v1")["quarantined"] == 1
    assert features(camera, "camera_day_v1")["confidence_mean"] is None

    plates, empty, broken = ask("image", [A.content, EMPTY.content, BROKEN.content])
    view = features(plates, "image_recognitions_v1")
    assert view["texts"] == ["A001AA77", ""]
    assert view["boxes"] == [10.0, 20.0, 110.0, 44.0, 11.0, 20.0, 110.0, 44.0]
    assert view["captured_at"] == at("2026-05-01 10:00:01")
    assert features(empty, "image_recognitions_v1")["texts"] == []
    assert features(broken, "image_recognitions_v1")["reason"] == "truncated"
    assert ask("plate", []) == []
    with pytest.raises(ConfigurationError, match="there are: plate, camera, image"):
        ask("driver", ["x"])


def test_nothing_published_is_said_so(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="Run `platemill run` first"):
        lookup(settings, "plate", ["A001AA77"], clock=NIGHT.timestamp)
    assert not finish_online(settings)


def test_only_what_changed_is_written(settings: Settings) -> None:
    _, first = publish_night(settings, [A, B], 0)
    assert first.full
    # B: plate and camera c2 in three views each, and its image.
    _, second = publish_night(settings, [replace(B, plates=(("B002BB77", 0.6),))], 1)
    assert (second.full, second.written, second.deleted) == (False, 7, 0)
    assert second.compared == first.written


def test_a_late_image_does_not_bring_old_values_back(settings: Settings) -> None:
    publish_night(settings, [A, NEWER], 0)
    ask = Lookup(settings, clock=NIGHT.timestamp)
    publish_night(settings, [LATE], 1)
    # The same open store answers for the night that was published since.
    [row] = ask("plate", ["A001AA77"])
    assert row["generation"] == 2
    assert features(row, "plate_day_v1")["last_camera"] == "c2"
    assert features(row, "plate_week_v1")["sightings"] == 1
    month = features(row, "plate_month_v1")
    assert (month["sightings"], month["cameras"], month["days_seen"]) == (3, 3, 2)


def test_a_key_without_tiles_is_deleted_and_an_older_one_answers(settings: Settings) -> None:
    publish_night(settings, [A, B, NEWER], 0)
    gone = [replace(B, plates=()), replace(NEWER, plates=())]
    _, staged = publish_night(settings, gone, 1)
    assert staged.deleted == 3
    b, a = lookup(settings, "plate", ["B002BB77", "A001AA77"], clock=NIGHT.timestamp)
    assert not b["found"]
    assert features(a, "plate_day_v1")["last_seen"] == at("2026-05-01 10:00:01")


def test_another_pipeline_is_another_store(settings: Settings) -> None:
    publish_night(settings, [A, B], 0)
    _, staged = publish_night(settings, [B], 1, "p2")
    assert staged.full
    a, b = lookup(settings, "plate", ["A001AA77", "B002BB77"], clock=NIGHT.timestamp)
    assert (a["found"], b["found"]) == (False, True)


@pytest.mark.parametrize("lost", ["online_store.db", "registry.db"])
def test_a_lost_file_is_made_again(settings: Settings, lost: str) -> None:
    publish_night(settings, [A, B], 0)
    (settings.features / lost).unlink()
    _, staged = publish_night(settings, [NEWER], 1)
    assert staged.full
    assert lookup(settings, "plate", ["B002BB77"], clock=NIGHT.timestamp)[0]["found"]


def test_a_run_that_died_after_its_commit_is_finished_by_the_next(settings: Settings) -> None:
    publish_night(settings, [A], 0)
    draft = draft_night(settings, [NEWER], "r1", now=later(1))
    stage_online(settings, draft)
    publish(settings, draft)
    assert lookup(settings, "plate", ["A001AA77"], clock=NIGHT.timestamp)[0]["generation"] == 1
    assert finish_online(settings)
    assert lookup(settings, "plate", ["A001AA77"], clock=NIGHT.timestamp)[0]["generation"] == 2
    # And if what was staged is lost too.
    draft = draft_night(settings, [B], "r2", now=later(2))
    publish(settings, draft)
    assert finish_online(settings)
    assert lookup(settings, "plate", ["B002BB77"], clock=NIGHT.timestamp)[0]["generation"] == 3
    assert not list((settings.features / "_staged").iterdir())


def test_a_store_that_was_not_published_is_never_served(settings: Settings) -> None:
    publish_night(settings, [A], 0)
    abandoned = draft_night(settings, [NEWER], "abandoned", now=later(1))
    stage_online(settings, abandoned)
    assert not finish_online(settings)
    publish_night(settings, [B], 2)
    assert (
        lookup(settings, "plate", ["A001AA77"], clock=NIGHT.timestamp)[0][
            "plate_week_v1__last_camera"
        ]
        == "c1"
    )
    stamp = read_stamp(settings.features / "online_store.db")
    assert stamp is not None
    assert (stamp.generation, stamp.run_id) == (2, "r2")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of one night."""
    settings = settings_for(tmp_path_factory.mktemp("pattern") / "home")
    publish_night(settings, [A, B], 0)
    return settings.home


SPOILT = "packed_platemill_image_recognitions_v1"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("DELETE FROM {t} WHERE entity_key = (SELECT min(entity_key) FROM {t})", "1 are missing"),
        ("DELETE FROM {t} WHERE entity_key = (SELECT max(entity_key) FROM {t})", "1 are missing"),
        ("DELETE FROM {t}", "2 are missing"),
        ("UPDATE {t} SET plates = copies WHERE plates <> copies", "1 of 2 rows mismatch.* plates:"),
        ("UPDATE {t} SET event_ts = event_ts + 1", "2 of 2 rows mismatch.* event time: tile"),
        ("UPDATE {t} SET created_ts = created_ts - 1", "2 of 2 rows mismatch.* creation: tile"),
        ("UPDATE {t} SET created_ts = NULL", "2 of 2 rows mismatch"),
        ("UPDATE {t} SET reason = X'1200'", "2 of 2 rows mismatch.* reason: tile None, online ''"),
        # Bytes that are no message, of another type, or doubled.
        ("UPDATE {t} SET texts = X'62FF'", "2 of 2 rows mismatch.* texts: .*online bytes 62ff"),
        ("UPDATE {t} SET plates = boxes", "2 of 2 rows mismatch.* online bytes 8201"),
        ("UPDATE {t} SET copies = CAST(copies || copies AS BLOB)", "2 of 2 rows mismatch"),
        ("UPDATE {t} SET reason = ''", "2 of 2 rows mismatch.* reason: tile None, online ''"),
        ("UPDATE {t} SET copies = 1", "2 of 2 rows mismatch.* copies: tile 1, online 1"),
        ("UPDATE {t} SET copies = NULL", "2 of 2 rows mismatch.* copies: tile 1, online None"),
        ("INSERT INTO {t} SELECT X'00', {c} FROM {t} LIMIT 1", "1 are extra.*extra key"),
        ("INSERT INTO {t} SELECT CAST(entity_key || 'x' AS BLOB), {c} FROM {t}", "2 are extra"),
        ("INSERT INTO {t} SELECT 'text', {c} FROM {t} LIMIT 1", "1 are extra"),
        ("INSERT INTO {t} SELECT X'FF', {c} FROM {t} LIMIT 1", "1 are extra"),
    ],
)
def test_any_difference_from_the_tiles_is_found(
    settings: Settings, pattern: Path, spoil: str, text: str
) -> None:
    from platemill.features.gate import compare_published

    shutil.copytree(pattern, settings.home, dirs_exist_ok=True)
    assert compare_published(settings) == 14
    columns = ["event_ts", "created_ts", *(column.name for column in VIEWS[-1].features)]
    with closing(sqlite3.connect(settings.features / "online_store.db")) as database, database:
        done = database.execute(spoil.format(t=SPOILT, c=", ".join(columns)))
        assert done.rowcount > 0
    with pytest.raises(CheckFailed, match=text):
        compare_published(settings)


def test_a_difference_stops_the_night_and_the_next_writes_all_of_it_anew(
    settings: Settings,
) -> None:
    publish_night(settings, [A, B], 0)
    with closing(sqlite3.connect(settings.features / "online_store.db")) as database, database:
        database.execute(f"DELETE FROM {SPOILT}")
    draft = draft_night(settings, [NEWER], "r1", now=later(1))
    with pytest.raises(CheckFailed, match="2 are missing"):
        stage_online(settings, draft)
    assert stage_online(settings, draft).full
    publish(settings, draft)
    finish_online(settings)
    assert lookup(settings, "image", [A.content], clock=NIGHT.timestamp)[0]["found"]


def test_staging_publishes_nothing(settings: Settings) -> None:
    publish_night(settings, [A], 0)
    before = (settings.features / "online_store.db").read_bytes()
    stage_online(settings, draft_night(settings, [NEWER], "r1", now=later(1)))
    assert (settings.features / "online_store.db").read_bytes() == before
    generation = open_lake(settings).current()
    assert generation is not None
    assert generation.number == 1
    assert generation.created_at == NIGHT


def test_a_draft_of_the_published_night_is_a_full_store(settings: Settings) -> None:
    generation, first = publish_night(settings, [A, B], 0)
    again = stage_online(settings, Draft(generation, None))
    assert (again.full, again.written, again.compared) == (True, first.written, first.written)
