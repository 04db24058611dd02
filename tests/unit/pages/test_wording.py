"""Numbers read as people write them, and never say more than is true."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from platemill.pages.wording import (
    capitalised,
    count,
    duration,
    number,
    share,
    size,
    stamp,
    time_to_live,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345, "12,345"),
        (9_999_999, "9,999,999"),
        (12_345_678, "12.3 M"),
        (2_500_000_000, "2.5 G"),
        (-12_345_678, "-12.3 M"),
        (10**15, "1,000.0 T"),
    ],
)
def test_counts(value: int, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (0.98123456, "0.9812"),
        (1234.56, "1,235"),
        (3.4e-5, "3.4e-05"),
        (float("nan"), "not a number"),
        (float("inf"), "not a number"),
        (12_345_678.9, "12.3 M"),
        (7, "7"),
        (-0.5, "-0.5"),
        (999.96, "1000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_share_is_never_none_of_something_nor_all_of_less() -> None:
    assert share(0, 10) == "0 %"
    assert share(10, 10) == "100 %"
    assert share(1, 1_000_000) == "< 0.1 %"
    assert share(999_999, 1_000_000) == "> 99.9 %"
    assert share(1, 3) == "33.3 %"
    assert share(0, 0) == "–"


def test_sizes_times_and_texts() -> None:
    assert [size(999), size(1000), size(2_500_000)] == ["999 bytes", "1 kB", "2.5 MB"]
    assert stamp(date(2026, 5, 1)) == "2026-05-01"
    east = timezone(timedelta(hours=3))
    assert stamp(datetime(2026, 5, 1, 2, 30, tzinfo=east)) == "2026-04-30 23:30"
    assert stamp(datetime(2026, 5, 1, 2, 30, tzinfo=UTC)) == "2026-05-01 02:30"
    assert time_to_live(timedelta(days=90)) == "90 days"
    assert time_to_live(timedelta(days=3 * 365)) == "3 years"
    assert time_to_live(timedelta(days=365)) == "1 year"
    assert time_to_live(timedelta(hours=1)) == "1:00:00"
    assert capitalised("the UTC day") == "The UTC day"
    assert capitalised("well_formed / plates") == "well_formed / plates"
    assert capitalised("") == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0.00 s"),
        (0.994, "0.99 s"),
        (0.996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (245.2, "4 min 5 s"),
        (3599.6, "1 h"),
        (3600 + 59 * 60 + 40, "2 h"),
        (3 * 3600 + 7 * 60, "3 h 7 min"),
        (26 * 3600, "1 d 2 h"),
        (86400 * 2 - 1, "2 d"),
    ],
)
def test_lengths_of_time_have_two_units_and_never_sixty_of_one(seconds: float, said: str) -> None:
    assert duration(seconds) == said
