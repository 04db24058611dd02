"""Rates and times left, by a clock that the test moves."""

from __future__ import annotations

import pytest

from platemill.observe.rate import Rate, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def rate_of(*counts: tuple[float, int], window: float = 60.0) -> tuple[Rate, Clock]:
    clock = Clock()
    rate = Rate(window, clock)
    for now, done in counts:
        clock.now = now
        rate.count(done)
    return rate, clock


@pytest.mark.parametrize("counts", [(), ((0, 0),), ((0, 0), (30, 8)), ((0, 500), (9, 500))])
def test_nothing_is_said_before_something_was_done_twice(counts: tuple[tuple[float, int]]) -> None:
    rate, _ = rate_of(*counts)
    assert rate.a_second() is None
    assert rate.seconds_left(1000) is None


def test_what_was_done_before_and_the_start_do_not_count() -> None:
    rate, _ = rate_of((0, 500), (30, 508), (32, 528))
    assert rate.a_second() == pytest.approx(10.0)
    assert rate.seconds_left(1028) == pytest.approx(50.0)


def test_only_the_last_minute_counts() -> None:
    slow = [(float(second), second) for second in range(100)]
    fast = [(100.0 + second, 100 + 10 * second) for second in range(61)]
    rate, _ = rate_of(*slow, *fast)
    assert rate.a_second() == pytest.approx(10.0)


def test_the_rate_falls_while_nothing_is_done() -> None:
    rate, clock = rate_of((0, 0), (1, 1), (2, 11))
    assert rate.a_second() == pytest.approx(10.0)
    clock.now = 11.0
    assert rate.a_second() == pytest.approx(1.0)
    assert rate.seconds_left(11) == 0.0


def test_fewer_than_before_is_something_else() -> None:
    rate, _ = rate_of((0, 0), (1, 10), (2, 90), (3, 4))
    assert rate.a_second() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (59.6, "0:01:00"),
        (3599, "0:59:59"),
        (86399, "23:59:59"),
        (90061, "1 d 01:01:01"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text
