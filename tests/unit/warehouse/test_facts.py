"""Facts: an image is there once, however often and in whatever order runs recognise it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_lake import NIGHT, Photo, at, draft_night, later, night, settings_for, stage

from platemill.lake import open_lake
from platemill.settings import Settings
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.query import run_sql

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9), ("", 0.3)))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-01 11:00"), (("B002BB77", 0.8),))
C = Photo("file:///c2/c.jpg", "c2", at("2026-05-03 09:00"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def uris(settings: Settings, table: str = "images") -> list[tuple[str, str]]:
    rows = run_sql(settings, f"SELECT uri, pipeline_version FROM {table} ORDER BY ALL").to_pylist()
    return [(row["uri"], row["pipeline_version"]) for row in rows]


def test_a_file_a_day_and_a_name_after_its_content(settings: Settings) -> None:
    generation = night(settings, [A, B, C])
    images = generation.partitions("images")
    assert sorted(images) == [A.day, C.day]
    assert images[A.day].rows == 2
    assert generation.partitions("recognitions")[A.day].rows == 3
    assert C.day not in generation.partitions("recognitions")
    folder = settings.lake / "images" / "day=2026-05-01"
    assert [str(path.relative_to(settings.lake)) for path in folder.iterdir()] == [
        images[A.day].path
    ]


def test_the_same_shards_again_change_nothing(settings: Settings) -> None:
    first = night(settings, [A, B, C], "r1")
    draft = draft_night(settings, [A, B, C], "r2", now=later(1))
    assert draft.days == ()
    assert draft.generation.tables == first.tables
    assert not draft.needs_publishing


def test_two_runs_over_one_day_neither_double_nor_lose(settings: Settings) -> None:
    # Both planned before either published, with an image in common.
    lake = open_lake(settings)
    one = stage(lake, [A, B], "r1")
    two = stage(lake, [B, C, replace(A, uri="file:///c1/d.jpg")], "r2")
    for run_id, records in (("r1", one), ("r2", two)):
        draft = merge_facts(settings, records, run_id=run_id, pipeline_version="p1", now=NIGHT)
        publish(settings, draft)
    assert uris(settings) == [
        (uri, "p1") for uri in sorted([A.uri, B.uri, C.uri, "file:///c1/d.jpg"])
    ]
    assert len(uris(settings, "recognitions")) == 5


def test_a_file_with_new_content_replaces_its_rows(settings: Settings) -> None:
    night(settings, [A, B])
    night(settings, [replace(A, plates=(), image_id="other")], "r2", now=later(1))
    assert uris(settings) == [(A.uri, "p1"), (B.uri, "p1")]
    assert uris(settings, "recognitions") == [(B.uri, "p1")]


def test_a_file_that_moves_to_another_day_leaves_the_old_one(settings: Settings) -> None:
    night(settings, [A, C])
    moved = replace(A, captured_at=at("2026-05-09 10:00"))
    draft = draft_night(settings, [moved], "r2", now=later(1))
    assert draft.days == (A.day, moved.day)
    generation = publish(settings, draft)
    assert sorted(generation.partitions("images")) == [C.day, moved.day]
    assert sorted(generation.partitions("plate_day_v1")) == [moved.day]
    assert generation.partitions("plate_week_v1").keys() == {at("2026-05-04 00:00").date()}


def test_pipeline_versions_stand_side_by_side(settings: Settings) -> None:
    night(settings, [A], "r1", "p1")
    night(settings, [A], "r2", "p2", now=later(1))
    assert uris(settings) == [(A.uri, "p1"), (A.uri, "p2")]
    rows = run_sql(settings, "SELECT pipeline_version, sightings FROM plate_month_v1").to_pylist()
    assert sorted((row["pipeline_version"], row["sightings"]) for row in rows) == [
        ("p1", 1),
        ("p2", 1),
    ]


def test_no_shards_is_an_empty_generation_once(settings: Settings) -> None:
    draft = draft_night(settings, [])
    assert draft.needs_publishing
    publish(settings, draft)
    again = draft_night(settings, [], "r2")
    assert not again.needs_publishing
    assert draft_night(settings, [], "r2", "p2").needs_publishing


def test_time_only_goes_on(settings: Settings) -> None:
    first = night(settings, [A], now=later(2))
    second = night(settings, [B], "r2", now=NIGHT)
    assert second.created_at > first.created_at


def test_staged_rows_go_a_night_after_they_were_merged(settings: Settings) -> None:
    staging = settings.lake / "_staging"
    night(settings, [A], "r1")
    assert len(list(staging.iterdir())) == 1
    night(settings, [B], "r2", now=later(1))
    [left] = staging.iterdir()
    assert {path.name for path in left.iterdir()} == {
        "r2-images.parquet",
        "r2-recognitions.parquet",
    }
    assert uris(settings) == [(A.uri, "p1"), (B.uri, "p1")]
