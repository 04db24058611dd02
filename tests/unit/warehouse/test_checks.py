"""Checks: each of them can fail, and a failed one publishes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from small_lake import PROJECT, Photo, at, draft_night, inventory_of, later, night, settings_for

from platemill.errors import CheckFailed
from platemill.lake import open_lake
from platemill.lake.files import write_parquet
from platemill.schema import CHECK_RESULTS, DERIVED, FACTS, TABLES, TILES
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.draft import Draft

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-01 11:00"), (("A001AA77", 0.8),))
Q = Photo("file:///c2/q.jpg", "c2", at("2026-05-02 11:00"), reason="truncated")
N = Photo("file:///c2/n.jpg", "c2", at("2026-05-02 12:00"))
PHOTOS = [A, B, Q, N]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Draft]:
    """A night that passes; a test spoils a copy of one file and leaves this one as it is."""
    settings = settings_for(tmp_path_factory.mktemp("good"))
    return settings, draft_night(settings, PHOTOS)


def spoil(settings: Settings, draft: Draft, table: str, change: Any, which: int = 0) -> Draft:
    """Replace one of a table's files by what ``change`` makes of its rows."""
    day, entry = sorted(draft.generation.partitions(table).items())[which]
    path = settings.lake / entry.path
    rows = change(pq.read_table(path, partitioning=None).to_pylist())
    batches = pa.Table.from_pylist(rows, schema=TABLES[table].arrow).to_batches()
    storage = open_lake(settings).storage
    written = write_parquet(storage, f"spoilt/{table}/", TABLES[table].arrow, batches)
    return draft.with_files(table, {day: written})


def with_value(**values: Any) -> Any:
    return lambda rows: [{**rows[0], **values}, *rows[1:]]


def doubled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, rows[0]]


def test_a_good_night_passes_every_check(good: tuple[Settings, Draft]) -> None:
    settings, draft = good
    results = run_checks(settings, draft, inventory_of(PHOTOS))
    assert results.schema == CHECK_RESULTS.arrow
    checked = {table.name for table in (*FACTS, *TILES, *DERIVED)}
    assert set(results["table_name"].to_pylist()) == checked
    assert set(results["failed"].to_pylist()) == {0}
    assert set(results["severity"].to_pylist()) <= {"block", "warn"}


SPOILT = [
    ("images", doubled, "keys_unique"),
    ("images", doubled, "keys_unique_over_days"),
    ("images", lambda rows: rows[1:], "every_image_recorded"),
    ("images", lambda rows: rows[1:], "conservation_of_days"),
    ("images", with_value(deleted_at=at("2026-05-03 00:00")), "deleted_as_in_the_archive"),
    ("images", with_value(status="lost"), "status_known"),
    ("images", with_value(plates=0), "status_agrees_with_plates"),
    ("images", with_value(reason="truncated"), "quarantined_with_a_reason"),
    ("images", with_value(captured_at=at("2026-05-02 00:00")), "day_of_captured_at"),
    ("recognitions", doubled, "keys_unique"),
    ("recognitions", lambda rows: rows[1:], "plates_of_images"),
    ("recognitions", lambda rows: [], "plates_of_images"),
    ("recognitions", with_value(plate_index=5), "plates_numbered_from_0"),
    ("recognitions", with_value(camera_id="c9"), "same_image"),
    ("recognitions", with_value(confidence=1.5), "confidence_0_to_1"),
    ("recognitions", with_value(confidence=float("nan")), "confidence_0_to_1"),
    ("recognitions", with_value(captured_at=at("2026-04-30 23:59")), "day_of_captured_at"),
    ("plate_camera_day_v1", doubled, "keys_unique"),
    ("plate_camera_day_v1", with_value(sightings=3), "sightings_of_facts"),
    ("plate_camera_day_v1", with_value(first_seen=at("2026-04-30 23:59")), "period_and_times"),
    ("plate_day_v1", doubled, "keys_unique"),
    ("plate_day_v1", with_value(sightings=3), "sightings_of_plate_camera_day_v1"),
    ("plate_day_v1", with_value(cameras=3), "cameras_and_days"),
    ("plate_day_v1", with_value(confidence_mean=0.2), "confidence_agrees"),
    ("plate_day_v1", with_value(event_timestamp=at("2026-05-03 00:00")), "period_and_times"),
    ("plate_week_v1", doubled, "keys_unique"),
    ("plate_week_v1", lambda rows: [], "sightings_of_plate_day_v1"),
    ("plate_week_v1", with_value(days_seen=8), "cameras_and_days"),
    ("plate_week_v1", with_value(confidence_mean=None), "confidence_agrees"),
    ("plate_week_v1", with_value(week=at("2026-04-28 00:00").date()), "period_and_times"),
    ("plate_month_v1", doubled, "keys_unique"),
    ("plate_month_v1", with_value(sightings=1), "sightings_of_plate_day_v1"),
    ("plate_month_v1", with_value(days_seen=0), "cameras_and_days"),
    ("plate_month_v1", with_value(confidence_mean=0.99), "confidence_agrees"),
    ("plate_month_v1", with_value(last_seen=at("2026-06-01 00:00")), "period_and_times"),
    ("camera_day_v1", doubled, "keys_unique"),
    ("camera_day_v1", with_value(images=3), "images_and_plates_of_facts"),
    ("camera_day_v1", with_value(no_plate=1), "statuses_add_up"),
    ("camera_day_v1", with_value(confidence_mean=0.1), "confidence_agrees"),
    ("camera_day_v1", with_value(last_seen=at("2026-05-02 00:00")), "period_and_times"),
    ("camera_week_v1", doubled, "keys_unique"),
    ("camera_week_v1", with_value(plates=9), "images_and_plates_of_camera_day_v1"),
    ("camera_week_v1", with_value(distinct_plates=9), "statuses_add_up"),
    ("camera_week_v1", with_value(confidence_mean=None), "confidence_agrees"),
    ("camera_week_v1", with_value(first_seen=at("2026-05-03 00:00")), "period_and_times"),
    ("camera_month_v1", doubled, "keys_unique"),
    ("camera_month_v1", with_value(images=9), "images_and_plates_of_camera_day_v1"),
    ("camera_month_v1", with_value(well_formed=0), "statuses_add_up"),
    ("camera_month_v1", with_value(confidence_mean=0.0), "confidence_agrees"),
    ("camera_month_v1", with_value(month=at("2026-04-01 00:00").date()), "period_and_times"),
    ("plate_day_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("plate_day_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("plate_week_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("plate_week_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("plate_month_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("plate_month_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("camera_day_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("camera_day_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("camera_week_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("camera_week_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("camera_month_v1", with_value(hours=[1] * 23), "histograms_add_up"),
    ("camera_month_v1", with_value(gap_max_seconds=None), "gaps_agree"),
    ("image_recognitions_v1", doubled, "keys_unique"),
    ("image_recognitions_v1", with_value(copies=2), "copies_of_images"),
    ("image_recognitions_v1", with_value(texts=[]), "lists_as_long_as_plates"),
]


@pytest.mark.parametrize(
    ("table", "change", "check"),
    SPOILT,
    ids=lambda value: value if isinstance(value, str) else "with",
)
def test_each_check_fails_on_what_it_is_for(
    good: tuple[Settings, Draft], table: str, change: Any, check: str
) -> None:
    settings = good[0]
    draft = spoil(settings, good[1], table, change)
    with pytest.raises(CheckFailed, match=rf"(?m)^  {table} +{check} ") as caught:
        run_checks(settings, draft, inventory_of(PHOTOS))
    assert "readers still see the night before" in str(caught.value)
    assert open_lake(settings).current() is None


def test_every_check_is_shown_to_fail(good: tuple[Settings, Draft]) -> None:
    results = run_checks(*good, inventory_of(PHOTOS)).to_pylist()
    shown = {(table, check) for table, _, check in SPOILT}
    shown |= {("recognitions", "box_has_an_area")}
    # What needs weeks of images to fail, or another SQL, is shown by cases as data.
    for case in (PROJECT / "tests" / "sql").glob("*/*/checks.yaml"):
        said = yaml.safe_load(case.read_text())
        shown |= {(case.parents[1].name, check) for check in said if said[check]["failed"]}
    assert {(row["table_name"], row["check_name"]) for row in results} == shown


def test_an_image_that_left_its_row_on_another_day_is_found(settings: Settings) -> None:
    first = night(settings, [A, N])
    moved = replace(A, captured_at=at("2026-05-04 10:00"))
    draft = draft_night(settings, [moved], "r2")
    assert A.day in draft.days
    run_checks(settings, draft, inventory_of([moved, N]))
    left = {A.day: first.partitions("images")[A.day]}
    with pytest.raises(CheckFailed, match=r"keys_unique_over_days +1 +\S+a.jpg"):
        run_checks(settings, draft.with_files("images", left), inventory_of([moved, N]))


def test_parts_of_a_large_backfill_are_added_up(
    good: tuple[Settings, Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = run_checks(*good, inventory_of(PHOTOS))
    monkeypatch.setattr("platemill.warehouse.checks._ROWS_AT_A_TIME", 1)
    in_parts = run_checks(*good, iter([inventory_of([A, B]), inventory_of([Q, N])]))
    assert in_parts == at_once
    draft = spoil(*good, "camera_day_v1", with_value(no_plate=1))
    draft = spoil(good[0], draft, "camera_day_v1", with_value(no_plate=2), which=1)
    with pytest.raises(CheckFailed, match=r"camera_day_v1 +statuses_add_up +2 +c1 2026-05-01"):
        run_checks(good[0], draft, inventory_of(PHOTOS))


def test_a_warning_does_not_stop_the_night(good: tuple[Settings, Draft]) -> None:
    draft = spoil(*good, "recognitions", with_value(xmax=0.0))
    rows = run_checks(good[0], draft, inventory_of(PHOTOS)).to_pylist()
    [warned] = [row for row in rows if row["failed"]]
    assert (warned["check_name"], warned["severity"], warned["failed"]) == (
        "box_has_an_area",
        "warn",
        1,
    )


def test_an_image_of_an_untouched_day_is_missed_too(settings: Settings) -> None:
    night(settings, [A])
    draft = draft_night(settings, [Q], "r2")
    with pytest.raises(CheckFailed, match=r"every_image_recorded +1 +\S+n.jpg"):
        run_checks(settings, draft, inventory_of([A, Q, replace(N, captured_at=at("2026-05-05"))]))
    run_checks(settings, draft, inventory_of([A, Q]))


def test_an_image_recorded_under_another_pipeline_only_is_missed(settings: Settings) -> None:
    night(settings, [A, B], "r1", "p1")
    draft = draft_night(settings, [A], "r2", "p2")
    with pytest.raises(CheckFailed, match="conservation_of_days"):
        run_checks(settings, draft, inventory_of([A, B]))


def test_days_that_were_known_at_different_times_pass(settings: Settings) -> None:
    def seen(name: str, day: int, plate: str) -> Photo:
        return Photo(f"file:///{name}.jpg", "c1", at(f"2026-05-{day:02} 10:00"), ((plate, 0.9),))

    old = [seen("a", 4, "A001AA77"), seen("b", 6, "A001AA77")]
    night(settings, old, now=later(0))
    # Both days are touched, and one of the plate's days is known anew.
    late = [seen("c", 4, "A001AA77"), seen("d", 6, "B002BB77")]
    draft = draft_night(settings, late, "r2", now=later(1))
    run_checks(settings, draft, inventory_of([*old, *late]))
