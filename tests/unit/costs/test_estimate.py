"""What a night is expected to take: arithmetic over made journals, and whom it asks."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from journals import estimate as estimate_event
from journals import event, node_down, node_up, shard, stage, whole_night

from platemill.costs.actual import cost_rows
from platemill.costs.choice import choose_days, require_prices
from platemill.costs.estimate import RUNS, DayWork, estimate, rates_of
from platemill.costs.prices import Prices
from platemill.errors import ConfigurationError
from platemill.settings import Settings

PRICED = Prices({"cpu": 3.6, "gpu": 36.0}, "EUR")  # a thousandth, a hundredth a second
DAY = dt.date(2026, 6, 2)


def rows(run_id: str = "r1", scale: float = 1.0, images: int = 40, version: str = "p1") -> Any:
    days = {"2026-05-01": images * 3 // 4, "2026-05-02": images - images * 3 // 4}
    found = cost_rows(run_id, whole_night(scale, days), PRICED)
    return [{**row, "pipeline_version": version} for row in found]


def work(images: int, recorded: int = 0, day: dt.date = DAY) -> DayWork:
    return DayWork(day, images, 1 + images // 100, recorded)


def seconds(found: Any) -> dict[str, float]:
    return {s.stage: round(s.node_seconds, 6) for s in found.stages}


def test_the_same_night_again_takes_what_it_took() -> None:
    found = estimate([work(40)], rates_of(rows(), "p1"), PRICED)
    assert seconds(found) == {
        "inventory": 8,
        "plan": 2,
        "recognise_start": 30,
        "recognise": 65,
        "recognise_idle": 5,
        "between": 0,
        "facts": 5,
        "tiles": 5,
        "checks": 2,
        "features": 6,
        "publish": 2,
    }
    assert found.seconds == pytest.approx(130)
    assert found.node_hours == pytest.approx(130 / 3600)
    assert found.price == pytest.approx(0.13)
    assert found.reserve == pytest.approx(0.02)


def test_twice_the_images_take_twice_the_work_and_one_start() -> None:
    found = seconds(estimate([work(80)], rates_of(rows(), "p1"), PRICED))
    assert found["recognise"] == 130
    assert found["recognise_idle"] == 10
    assert found["recognise_start"] == 30
    assert found["tiles"] == 10


def test_half_the_images_take_half_the_work_but_all_of_the_rest() -> None:
    found = seconds(estimate([work(20)], rates_of(rows(), "p1"), PRICED))
    assert found["recognise"] == 32.5
    assert found["tiles"] == 5


def test_what_is_recorded_already_is_not_paid_again() -> None:
    found = seconds(estimate([work(40, recorded=30)], rates_of(rows(), "p1"), PRICED))
    assert found["recognise"] == 65 / 4
    assert found["tiles"] == 5
    done = seconds(estimate([work(40, recorded=40)], rates_of(rows(), "p1"), PRICED))
    assert not {"recognise", "recognise_start"} & done.keys()


def test_stages_that_are_done_are_what_they_took() -> None:
    found = estimate([work(40)], rates_of(rows(), "p1"), PRICED, {"inventory": 99, "plan": 1})
    assert seconds(found)["inventory"] == 99
    assert seconds(found)["plan"] == 1


def test_the_median_of_runs_of_a_like_size_is_told() -> None:
    history = [
        *rows("r1", 1.0, 4000),
        *rows("r2", 3.0, 4400),
        *rows("r3", 1.2, 3600),
        # A night of some late images says little of a large one.
        *rows("r4", 0.5, 4),
        *rows("r5", 0.5, 8),
    ]
    rates = rates_of(history, "p1")
    assert rates is not None
    assert set(rates.run_ids) == {"r1", "r2", "r3", "r4", "r5"}
    found = seconds(estimate([work(4000)], rates, PRICED))
    # 65, 177.3 and 86.7 seconds for 4,000 images.
    assert found["recognise"] == pytest.approx(86.667, abs=0.001)
    # And a large one little of some late images.
    small = seconds(estimate([work(4)], rates, PRICED))
    assert small["recognise"] == pytest.approx(16.25)


def test_the_last_runs_are_asked_and_no_others() -> None:
    history = [row for n in range(RUNS + 5) for row in rows(f"r{n:02}")]
    rates = rates_of(history, "p1")
    assert rates is not None
    assert rates.run_ids == tuple(f"r{n:02}" for n in range(RUNS + 4, 4, -1))
    assert rates.images == RUNS * 40


def test_another_pipeline_is_asked_only_if_this_one_never_ran() -> None:
    both = [*rows("r1", 1.0, version="old"), *rows("r2", 4.0, version="new")]
    new, newest = rates_of(both, "new"), rates_of(both, "newest")
    assert new is not None
    assert newest is not None
    assert (new.run_ids, new.same_pipeline) == (("r2",), True)
    assert (newest.run_ids, newest.same_pipeline) == (("r2", "r1"), False)


def gpu_night(run_id: str) -> Any:
    """Two GPU nodes for 60 s each, beside a head node of 100 s."""
    day = "2026-05-01"
    night = [
        estimate_event(0, {day: 600}, prices=PRICED.per_hour, private=False),
        node_up(0, "head", "cpu"),
        node_up(30, "g1", "gpu"),
        node_up(30, "g2", "gpu"),
        shard("a", day, 40, 90, 300, "g1"),
        shard("b", day, 40, 90, 300, "g2"),
        node_down(90, "g1"),
        node_down(90, "g2"),
        node_down(100, "head"),
        stage("recognise", 0, 100),
        stage("tiles", 100, 110),
        event(500, "server_lost", node="g1", why="it is later than the other run"),
    ]
    return cost_rows(run_id, night, PRICED)


def test_kinds_of_nodes_are_those_of_the_newest_run() -> None:
    rates = rates_of([*rows("r1"), *gpu_night("r2")], "p1")
    assert rates is not None
    assert (rates.kinds, rates.run_ids) == (("cpu", "gpu"), ("r2",))
    found = estimate([work(1200)], rates, PRICED)
    spent = {(s.stage, s.node_kind): s.node_seconds for s in found.stages or ()}
    assert spent["recognise", "gpu"] == 200
    assert spent["recognise_start", "gpu"] == 20
    assert spent["recognise_start", "cpu"] == 100
    assert found.price == pytest.approx(2.2 + 0.1 + 0.02)
    # Three nodes of which 2.2 are up at a time.
    clock = {(s.stage, s.node_kind): s.seconds for s in found.stages or ()}
    assert clock["recognise", "gpu"] == pytest.approx(200 / 2.2)


def test_a_stopped_run_says_how_fast_it_recognised_and_no_more() -> None:
    night = whole_night()[:7]
    history = [*cost_rows("r2", night, PRICED), *rows("r1", 2.0)]
    found = seconds(estimate([work(40)], rates_of(history, "p1"), PRICED))
    assert found["tiles"] == 10
    assert found["recognise"] == (65 + 130) / 2


def test_nothing_is_told_of_what_was_never_measured() -> None:
    quiet = cost_rows("r1", [stage("inventory", 0, 3), stage("plan", 3, 4)], PRICED)
    assert rates_of(quiet, "p1") is None
    found = estimate([work(40)], None, PRICED)
    assert (found.stages, found.seconds, found.node_hours, found.price) == (None,) * 4
    assert found.images == 40
    assert found.expected() == {}


def test_without_a_price_there_are_node_hours_and_no_money() -> None:
    found = estimate([work(40)], rates_of(rows(), "p1"), Prices())
    assert found.node_hours == pytest.approx(130 / 3600)
    assert found.price is None
    assert found.unpriced == ("cpu",)


RATES = rates_of(rows(), "p1")


def expect(some: Any) -> Any:
    return estimate(some, RATES, PRICED)


def days(*images: int) -> list[DayWork]:
    return [work(n, day=DAY + dt.timedelta(days=k)) for k, n in enumerate(images)]


def test_the_newest_days_come_first_as_long_as_they_fit() -> None:
    # 40 images: 0.13; every image more: 0.00225.
    choice = choose_days(days(40, 40, 40), 0.25, expect)
    assert [day.day for day in choice.left] == [DAY]
    assert choice.estimate.price is not None
    assert choice.estimate.price <= 0.25
    assert choose_days(days(40, 40, 40), 9, expect).left == ()


def test_a_day_that_does_not_fit_lets_smaller_ones_by() -> None:
    choice = choose_days(days(10, 4000, 20), 0.2, expect)
    assert [day.images for day in choice.estimate.days] == [10, 20]
    assert [day.images for day in choice.left] == [4000]


def test_a_budget_for_no_day_at_all_is_refused_with_what_it_takes() -> None:
    with pytest.raises(ConfigurationError, match=r"0\.01 EUR .* 2026-06-02 alone, .* 0\.13 EUR"):
        choose_days(days(40, 400), 0.01, expect)


def test_a_budget_needs_a_price_of_every_kind() -> None:
    with pytest.raises(ConfigurationError, match="cpu has none in PLATEMILL_NODE_PRICES"):
        choose_days(days(40), 5, lambda some: estimate(some, RATES, Prices({"gpu": 1.0})))


def test_of_what_was_never_measured_all_days_are_taken() -> None:
    choice = choose_days(days(40, 40), 0.01, lambda some: estimate(some, None, PRICED))
    assert choice.left == ()
    assert choice.estimate.images == 80


def test_nothing_to_do_fits_every_budget() -> None:
    assert choose_days([], 0.001, expect).left == ()


def test_a_budget_is_a_price_and_needs_a_table(tmp_path: Any) -> None:
    require_prices(Settings(home=tmp_path), None)
    with pytest.raises(ConfigurationError, match="PLATEMILL_NODE_PRICES"):
        require_prices(Settings(home=tmp_path), 1.0)
    priced = Settings(home=tmp_path, node_prices={"cpu": 1.0})
    require_prices(priced, 1.0)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigurationError, match="above 0"):
            require_prices(priced, wrong)
