"""The error budget: what a day may lose, what the stop says, what a later run tries again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from small_lake import Photo, at, night, settings_for, stage

from platemill.errors import CheckFailed
from platemill.lake import Lake, ShardRecord, open_lake
from platemill.settings import Settings
from platemill.warehouse.budget import check_budget, overspent, to_try_again

MAY_1, MAY_2 = "2026-05-01", "2026-05-02"


def photos(day: str, images: int, *reasons: str) -> list[Photo]:
    """So many photos of a day, the first of them quarantined for these reasons."""
    return [
        Photo(
            f"file:///c1/{day}/{number}.jpg",
            "c1",
            at(f"{day} 10:00"),
            reason=reasons[number] if number < len(reasons) else None,
        )
        for number in range(images)
    ]


def recorded(
    tmp_path: Path, taken: Sequence[Photo], **given: Any
) -> tuple[Settings, Lake, list[ShardRecord]]:
    settings = settings_for(tmp_path, **given)
    lake = open_lake(settings)
    return settings, lake, stage(lake, taken, "r1")


@pytest.mark.parametrize(
    ("images", "lost", "share", "floor", "stops"),
    [
        (4, 3, 0.01, 3, False),  # a small day may lose a few
        (4, 4, 0.01, 3, True),
        (1000, 10, 0.01, 3, False),  # exactly the share is not above it
        (1000, 11, 0.01, 3, True),
        (100, 29, 0.29, 0, False),  # 0.29 * 100 is 28.999…
        (100, 30, 0.29, 0, True),
        (5, 5, 1.0, 0, False),
        (5, 1, 0.0, 0, True),
        (5, 0, 0.0, 0, False),
    ],
)
def test_a_day_may_lose_the_share_or_the_floor(
    tmp_path: Path, images: int, lost: int, share: float, floor: int, stops: bool
) -> None:
    settings = settings_for(tmp_path, error_budget=share, error_budget_images=floor)
    counts = {"recognised": images - lost, "quarantined": lost}
    record = ShardRecord("k", date(2026, 5, 1), "r1", "a", "i", "r", counts)
    assert [spent.quarantined for spent in overspent(settings, [record])] == [lost] * stops


def test_each_day_has_its_own_budget(tmp_path: Path) -> None:
    taken = [*photos(MAY_1, 8, *["truncated"] * 3), *photos(MAY_2, 8, *["truncated"] * 4)]
    settings, lake, records = recorded(tmp_path, taken)
    (spent,) = overspent(settings, records)
    assert (spent.day, spent.images, spent.quarantined, spent.allowed) == (
        date(2026, 5, 2),
        8,
        4,
        3,
    )
    check_budget(settings, lake, records[:1], tmp_path)


def test_shards_of_one_day_are_counted_together(tmp_path: Path) -> None:
    settings, lake, first = recorded(tmp_path, photos(MAY_1, 10, "truncated", "truncated"))
    later = [replace(photo, uri=f"{photo.uri}x") for photo in photos(MAY_1, 10, "a", "b")]
    second = stage(lake, later, "r2")
    assert overspent(settings, first) == overspent(settings, second) == []
    (spent,) = overspent(settings, [*first, *second])
    assert (spent.images, spent.quarantined) == (20, 4)


def test_the_stop_says_day_counts_reason_example_and_both_cures(tmp_path: Path) -> None:
    reasons = ["truncated", "not_an_image", "not_an_image", "zero_bytes", "vanished"]
    settings, lake, records = recorded(tmp_path, photos(MAY_1, 40, *reasons))
    with pytest.raises(CheckFailed) as caught:
        check_budget(settings, lake, records, tmp_path)
    text = str(caught.value)
    assert "2026-05-01" in text
    assert "5 of 40" in text
    assert f"not_an_image (2): file:///c1/{MAY_1}/1.jpg" in text
    assert "mend" in text
    assert "--error-budget 0.125" in text
    assert caught.value.exit_code == 3
    with (tmp_path / "quarantined.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [row["reason"] for row in listed] == reasons
    enough = settings_for(tmp_path, error_budget=0.125)
    check_budget(enough, lake, records, tmp_path)


def test_what_may_be_well_by_now_is_tried_again_after_a_stop(tmp_path: Path) -> None:
    taken = [*photos(MAY_1, 9, *["truncated"] * 4, "vanished"), *photos(MAY_2, 9, "vanished")]
    settings, lake, records = recorded(tmp_path, taken)
    ((record, tried),) = to_try_again(settings, lake, records, retry=False)
    assert record.day == date(2026, 5, 1)
    assert tried == {f"file:///c1/{MAY_1}/{n}.jpg": 1 for n in range(5)}
    lake.forget_shard(record)
    assert lake.shard(record.key) is None
    assert not (settings.lake / record.images_path).exists()


@pytest.mark.parametrize("budget", [0.01, 1.0])
def test_what_no_try_can_mend_is_not_recognised_again(tmp_path: Path, budget: float) -> None:
    taken = photos(MAY_1, 9, *["truncated"] * 5)
    settings, lake, records = recorded(tmp_path, taken, error_budget=budget)
    assert to_try_again(settings, lake, records, retry=False) == []


def test_a_raised_budget_takes_them_as_they_are(tmp_path: Path) -> None:
    taken = photos(MAY_1, 9, *["vanished"] * 5)
    settings, lake, records = recorded(tmp_path, taken, error_budget=0.6)
    assert to_try_again(settings, lake, records, retry=False) == []


def test_a_retry_does_not_believe_what_was_recorded_before(tmp_path: Path) -> None:
    settings, lake, records = recorded(tmp_path, photos(MAY_1, 2, "truncated", "truncated"))
    ((record, tried),) = to_try_again(settings, lake, records, retry=True)
    assert (record, len(tried)) == (records[0], 2)


def test_what_is_merged_and_planned_again_is_recognised_again(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    taken = photos(MAY_1, 2, "vanished", "vanished")
    night(settings, taken)
    lake = open_lake(settings)
    current = lake.current()
    assert current is not None
    # The record stays until the next publication; the facts hold its rows.
    found = [lake.shard(key) for key in current.shards]
    records = [record for record in found if record is not None]
    assert len(records) == 1
    assert to_try_again(settings, lake, records, retry=False) == [(records[0], {})]
