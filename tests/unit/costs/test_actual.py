"""What a run cost, counted from journals: whole ones, cut-off ones, and ones of many nodes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from journals import BEGIN, Event, estimate, event, node_down, node_up, shard, stage, whole_night

from platemill.costs.actual import cost_rows, totals
from platemill.costs.events import run_times
from platemill.costs.prices import Prices

PRICED = Prices({"cpu": 3.6, "gpu": 36.0}, "EUR")


def by(rows: list[dict[str, Any]], *names: str) -> dict[Any, float]:
    """Node-seconds by some columns."""
    found: dict[Any, float] = defaultdict(float)
    for row in rows:
        key = tuple(row[name] for name in names)
        found[key if len(names) > 1 else key[0]] += row["node_seconds"]
    return {key: round(value, 6) for key, value in found.items()}


def test_a_whole_night_by_stage() -> None:
    rows = cost_rows("r1", whole_night(), PRICED)
    assert by(rows, "stage") == {
        "inventory": 8,
        "plan": 2,
        "recognise_start": 30,
        "recognise": 65,
        "recognise_idle": 5,
        "facts": 5,
        "tiles": 5,
        "checks": 2,
        "features": 6,
        "publish": 2,
    }
    assert {row["outcome"] for row in rows} == {"published"}
    assert {row["run_day"] for row in rows} == {BEGIN.date()}
    assert {row["pipeline_version"] for row in rows} == {"p1"}
    assert sum(row["seconds"] for row in rows) == pytest.approx(130)


def test_days_share_by_their_images_and_add_up() -> None:
    rows = cost_rows("r1", whole_night(), PRICED)
    found = {str(day): spent for day, spent in by(rows, "day").items()}
    assert found == {"2026-05-01": 97.5, "2026-05-02": 32.5}
    of_stage = {(r["stage"], str(r["day"])): r["images"] for r in rows}
    assert of_stage["recognise", "2026-05-01"] == of_stage["tiles", "2026-05-01"] == 30


def test_a_price_an_image_and_none_without_a_price() -> None:
    rows = cost_rows("r1", whole_night(), PRICED)
    [row] = [r for r in rows if r["stage"] == "recognise" and str(r["day"]) == "2026-05-02"]
    # 16.25 s at 0.001 a second, for ten images.
    assert row["price"] == pytest.approx(0.01625)
    assert row["currency"] == "EUR"
    assert row["cost_per_million_images"] == pytest.approx(1625)
    free = cost_rows("r1", [estimate(0, {"2026-05-01": 1}), *whole_night()[3:]], PRICED)
    assert {(r["price"], r["currency"], r["cost_per_million_images"]) for r in free} == {
        (None, None, None)
    }


def test_the_prices_of_the_night_count_not_those_of_today() -> None:
    rows = cost_rows("r1", whole_night(), Prices({"cpu": 1000.0}, "USD"))
    assert sum(row["price"] for row in rows) == pytest.approx(0.130)


def test_what_was_expected_stands_beside_it() -> None:
    expected = {"recognise": {"cpu": {"seconds": 40.0, "node_seconds": 40.0}}}
    night = whole_night()
    night[2] = estimate(10, {"2026-05-01": 30, "2026-05-02": 10}, prices={"cpu": 3.6})
    night[2]["expected"] = expected
    rows = cost_rows("r1", night, PRICED)
    told = [r for r in rows if r["estimated_seconds"] is not None]
    assert {row["stage"] for row in told} == {"recognise"}
    assert sum(row["estimated_seconds"] for row in told) == pytest.approx(40)
    assert sum(row["estimated_price"] for row in told) == pytest.approx(0.040)


def test_a_night_with_nothing_new_belongs_to_no_day() -> None:
    rows = cost_rows("r1", [stage("inventory", 0, 3), stage("plan", 3, 4)], PRICED)
    assert [(r["stage"], r["day"], r["node_seconds"], r["images"]) for r in rows] == [
        ("inventory", None, 3, 0),
        ("plan", None, 1, 0),
    ]
    assert {r["outcome"] for r in rows} == {"nothing_new"}
    assert {r["cost_per_million_images"] for r in rows} == {None}
    assert rows[0]["price"] == pytest.approx(0.003)


def test_a_killed_night_is_counted_up_to_its_last_line() -> None:
    night = whole_night()
    killed = night[:5]  # the first shard is recorded at 88.75 s
    killed.append(event(95, "progress", images_done=33))
    rows = cost_rows("r1", killed, PRICED)
    assert by(rows, "stage") == {
        "inventory": 8,
        "plan": 2,
        "recognise_start": 30,
        "recognise": 48.75,
        "recognise_idle": 6.25,
    }
    assert {row["outcome"] for row in rows} == {"stopped"}
    assert [r["images"] for r in rows if r["stage"] == "recognise"] == [30]


def test_a_night_that_failed_and_was_tried_again_pays_for_both() -> None:
    night = whole_night()
    failed = stage("recognise", 10, 60, error="ServerUnavailable", text="x")
    again = [node_up(80), *night[4:6], stage("recognise", 70, 110)]
    rows = cost_rows("r1", [*night[:4], failed, *again, *night[8:]], PRICED)
    spent = by(rows, "stage")
    assert spent["recognise_start"] + spent["recognise"] + spent["recognise_idle"] == 90
    assert spent["between"] == 10
    assert sum(r["images"] for r in rows if r["stage"] == "recognise") == 40


def test_a_shard_that_is_told_of_twice_counts_once() -> None:
    night = whole_night()
    rows = cost_rows("r1", [*night, night[4]], PRICED)
    assert sum(r["images"] for r in rows if r["stage"] == "recognise") == 40
    assert by(rows, "stage")["recognise"] == 65


def test_nodes_elsewhere_are_paid_from_up_to_down_by_their_kind() -> None:
    day = "2026-05-01"
    night = [
        estimate(10, {day: 30}, prices={"cpu": 3.6, "gpu": 36.0}, private=False),
        node_up(12, "head", "cpu"),
        node_up(40, "g1", "gpu"),
        node_up(50, "g2", "gpu"),
        shard("a", day, 60, 80, 10, "g1"),
        shard("b", day, 70, 90, 10, "g1"),
        shard("c", day, 60, 90, 10, "g2"),
        node_down(95, "g1", "idle"),
        node_down(100, "g2"),
        node_down(100, "head"),
        stage("recognise", 10, 101),
    ]
    rows = cost_rows("r1", night, PRICED)
    assert by(rows, "stage", "node_kind") == {
        ("recognise_start", "cpu"): 88,
        ("recognise", "cpu"): 0,
        ("recognise_idle", "cpu"): 0,
        ("recognise_start", "gpu"): 30,
        ("recognise", "gpu"): 60,
        ("recognise_idle", "gpu"): 15,
    }
    assert sum(r["seconds"] for r in rows) == pytest.approx(91)
    gpu = [r for r in rows if (r["node_kind"], r["stage"]) == ("gpu", "recognise")]
    assert [(r["images"], r["price"]) for r in gpu] == [(30, pytest.approx(0.6))]


def test_a_lost_node_is_paid_until_it_was_lost_and_a_silent_one_to_the_end() -> None:
    day = "2026-05-01"
    night = [
        estimate(0, {day: 20}, private=False),
        node_up(10, "g1", "gpu"),
        node_up(10, "g2", "gpu"),
        node_down(40, "g1", "it is gone"),
        shard("a", day, 20, 60, 20, "g2"),
        stage("recognise", 0, 70, error="ShardsIncomplete", text="x"),
    ]
    assert by(cost_rows("r1", night, PRICED), "node_kind") == {"gpu": 30 + 60}


def test_a_node_that_nobody_saw_coming_has_worked() -> None:
    day = "2026-05-01"
    night = [
        estimate(0, {day: 20}, private=False),
        shard("a", day, 20, 60, 20, "g2"),
        stage("recognise", 0, 70),
    ]
    rows = cost_rows("r1", night, PRICED)
    assert by(rows, "stage")["recognise"] == 40
    assert sum(r["images"] for r in rows if r["stage"] == "recognise") == 20


def test_a_clock_that_is_off_makes_nothing_negative() -> None:
    night = whole_night()
    for one in night[4:6]:
        one["began"], one["ended"] = night[0]["began"], night[0]["ended"]
    rows = cost_rows("r1", night, PRICED)
    assert min(row["node_seconds"] for row in rows) >= 0
    assert sum(row["node_seconds"] for row in rows) == pytest.approx(130)


def test_long_gaps_are_no_time_on_a_node() -> None:
    night = [stage("inventory", 0, 5), stage("plan", 10, 12), stage("facts", 5000, 5001)]
    assert by(cost_rows("r1", night, PRICED), "stage")["between"] == 5


def test_the_days_that_the_budget_left_pay_for_no_tiles() -> None:
    night = whole_night()
    night.insert(7, event(110, "budget", days_left=["2026-05-02"]))
    rows = cost_rows("r1", night, PRICED)
    days = {str(row["day"]) for row in rows if row["stage"] == "tiles"}
    assert days == {"2026-05-01"}
    assert by(rows, "stage")["tiles"] == 5


@pytest.mark.parametrize(
    "line",
    [
        {"at": "yesterday", "event": "stage"},
        {"at": None, "event": "shard"},
        event(11, "stage", stage="facts"),
        event(11, "shard", key="k", day="1 May", began=1, ended=2, images="x"),
        event(11, "estimate", images=[]),
        event(11, "budget"),
        event(11, "something else"),
    ],
)
def test_a_line_that_says_nothing_changes_nothing(line: Event) -> None:
    night = whole_night()
    assert cost_rows("r1", [night[0], line, *night[1:]], PRICED) == cost_rows("r1", night, PRICED)


def test_an_empty_journal_has_no_rows() -> None:
    assert cost_rows("r1", [], PRICED) == []


def test_totals_tell_estimate_and_actual() -> None:
    night = whole_night()
    night[2]["expected"] = {"recognise": {"cpu": {"seconds": 50.0, "node_seconds": 50.0}}}
    told = totals(cost_rows("r1", night, PRICED))
    assert told["price"] == pytest.approx(0.13)
    assert told["currency"] == "EUR"
    assert told["cost_per_million_images"] == pytest.approx(3250)
    assert told["stages"]["recognise"] == {
        "seconds": 65.0,
        "estimated_seconds": 50.0,
        "node_hours": pytest.approx(65 / 3600, abs=1e-6),
        "price": pytest.approx(0.065),
        "estimated_price": pytest.approx(0.05),
    }
    assert totals([])["price"] is None


def test_a_night_that_goes_on_is_counted_up_to_now() -> None:
    night = whole_night()[:4]  # the node is up, no shard is recorded
    now = BEGIN.timestamp() + 70
    times = run_times(night, now)
    assert [span.seconds for span in times.attempts] == [60]
    # Nothing of the job has spoken yet.
    assert [span.seconds for span in run_times(night[:3], now).attempts] == [60]
    assert run_times(night[:3]).attempts == ()
