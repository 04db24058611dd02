"""What checks found can be asked for: in SQL, or, of a stopped night, in its folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_lake import Photo, at, draft_night, inventory_of, later, settings_for

from platemill.errors import CheckFailed
from platemill.lake import Generation, open_lake
from platemill.lake.vacuum import find_waste
from platemill.schema import CHECK_RESULTS
from platemill.settings import Settings
from platemill.warehouse.check_results import record_results
from platemill.warehouse.checks import REPORT, run_checks
from platemill.warehouse.draft import Draft
from platemill.warehouse.publish import publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.rollback import draft_rollback, holds_the_same

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-03 11:00"), (("A001AA77", 0.8),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home")


def checked(settings: Settings, photos: list[Photo], run_id: str, now: datetime) -> Draft:
    draft = draft_night(settings, photos, run_id, now=now)
    inventory = inventory_of(photos)
    return record_results(settings, draft, run_checks(settings, draft, inventory))


def night(settings: Settings, photos: list[Photo], run_id: str, now: datetime) -> Generation:
    return publish(settings, checked(settings, photos, run_id, now))


def test_results_of_a_published_night_are_a_table(settings: Settings) -> None:
    night(settings, [A], "r1", later(0))
    night(settings, [B], "r2", later(0) + timedelta(hours=1))
    night(settings, [replace(B, uri="file:///c1/c.jpg")], "r3", later(1))
    rows = run_sql(
        settings,
        "SELECT run_id, generation, day, count(*) AS checks, sum(failed) AS failed, "
        "min(checked_at) AS at FROM check_results GROUP BY ALL ORDER BY generation",
    ).to_pylist()
    assert [(row["run_id"], row["generation"], row["failed"]) for row in rows] == [
        ("r1", 1, 0),
        ("r2", 2, 0),
        ("r3", 3, 0),
    ]
    assert [row["day"] for row in rows] == [later(0).date(), later(0).date(), later(1).date()]
    assert rows[0]["at"] == later(0)
    assert len({row["checks"] for row in rows}) == 1
    assert rows[0]["checks"] > 50


def test_recording_again_changes_nothing(settings: Settings) -> None:
    once = checked(settings, [A], "r1", later(0))
    inventory = inventory_of([A])
    twice = record_results(settings, once, run_checks(settings, once, inventory))
    assert twice.generation == once.generation
    assert twice.changed == once.changed


def test_results_of_a_stopped_night_are_in_its_folder(settings: Settings, tmp_path: Path) -> None:
    draft = draft_night(settings, [A], "r1")
    with pytest.raises(CheckFailed, match=rf"every_image_recorded(.|\n)*{tmp_path}/{REPORT}"):
        run_checks(settings, draft, inventory_of([A, B]), tmp_path)
    found = pq.read_table(tmp_path / REPORT)
    assert found.schema == CHECK_RESULTS.arrow
    failed = {row["check_name"] for row in found.to_pylist() if row["failed"]}
    assert failed == {"every_image_recorded"}
    assert open_lake(settings).current() is None


def test_a_rollback_keeps_what_was_found(settings: Settings) -> None:
    first = night(settings, [A], "r1", later(0))
    second = night(settings, [B], "r2", later(1))
    third = publish(settings, draft_rollback(second, first, run_id="back", now=later(2)))
    assert third.partitions("images") == first.partitions("images")
    assert third.partitions("check_results") == second.partitions("check_results")
    assert holds_the_same(third, first)
    assert not holds_the_same(third, second)


def test_a_vacuum_removes_files_of_results_that_grew(settings: Settings) -> None:
    night(settings, [A], "r1", later(0))
    night(settings, [B], "r2", later(0) + timedelta(hours=1))
    night(settings, [replace(B, uri="file:///c1/c.jpg")], "r3", later(1))
    waste = find_waste(open_lake(settings), [1], staged_before=later(0), planned=None)
    [results] = [kind for kind in waste if kind.kind == "check_results"]
    assert len(results.entries) == 1
