"""Whatever a night was like, what its days and stages cost adds up to what its nodes were up."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from journals import Event, at, estimate, node_down, node_up, shard, stage

from platemill.costs.actual import cost_rows
from platemill.costs.estimate import DayWork, rates_of
from platemill.costs.estimate import estimate as expect
from platemill.costs.prices import Prices

PRICED = Prices({"cpu": 1.0, "gpu": 7.0}, "EUR")
DAYS = ("2026-05-01", "2026-05-02", "2026-05-03")
seconds = st.floats(0, 3000, allow_nan=False)


@st.composite
def nights(draw: st.DrawFn) -> tuple[list[Event], float]:
    """A journal of a cluster somewhere else, and how long its nodes and stages took in all."""
    began = draw(st.floats(0, 500))
    length = draw(st.floats(1, 3000))
    events: list[Event] = [stage("inventory", 0, began)] if draw(st.booleans()) else []
    expected = began if events else 0.0
    planned = {day: draw(st.integers(0, 50)) for day in DAYS}
    events.append(estimate(began, planned, prices=PRICED.per_hour, private=False))
    up: dict[str, tuple[float, float]] = {}
    for index in range(draw(st.integers(1, 3))):
        start = began + draw(st.floats(0, 1)) * length
        end = start + draw(st.floats(0, 1)) * (began + length - start)
        name, kind = f"n{index}", draw(st.sampled_from(("cpu", "gpu")))
        events += [node_up(start, name, kind), node_down(end, name)]
        up[name] = (start, end)
        expected += end - start
    for index in range(draw(st.integers(0, 6))):
        # When it was worked on says its node's clock, when it was recorded that of the job.
        start, end = draw(seconds), draw(seconds)
        told = shard(
            f"k{index}",
            draw(st.sampled_from(DAYS)),
            start,
            max(start, end),
            draw(st.integers(1, 20)),
            draw(st.sampled_from(sorted(up))),
        )
        events.append({**told, "at": at(began + draw(st.floats(0, 1)) * length)})
    events.append(stage("recognise", began, began + length))
    if draw(st.booleans()):
        events.append(stage("tiles", began + length, began + length + 7))
        expected += 7
    return events, expected


def added(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] or 0.0 for row in rows))


@given(nights())
def test_days_and_stages_add_up_to_the_nodes(night: tuple[list[Event], float]) -> None:
    events, expected = night
    rows = cost_rows("r1", events, PRICED)
    assert added(rows, "node_seconds") == pytest.approx(expected, abs=1e-3)
    assert min(row["node_seconds"] for row in rows) >= 0
    for kind, price in PRICED.per_hour.items():
        of_kind = [row for row in rows if row["node_kind"] == kind]
        spent = added(of_kind, "node_seconds")
        assert added(of_kind, "price") == pytest.approx(spent / 3600 * price, abs=1e-9)
    shards = [event for event in events if event["event"] == "shard"]
    counted = sum(row["images"] for row in rows if row["stage"] == "recognise")
    assert counted == sum(event["images"] for event in shards)
    keys = [(r["run_id"], r["stage"], r["day"], r["node_kind"]) for r in rows]
    assert len(set(keys)) == len(keys)


@given(nights(), st.integers(1, 500), st.integers(0, 500))
def test_a_night_of_more_days_is_never_expected_to_cost_less(
    before: tuple[list[Event], float], first: int, second: int
) -> None:
    rates = rates_of(cost_rows("r1", before[0], PRICED), "p1")
    assume(rates is not None)
    one, two = DayWork(date(2026, 5, 1), first, 1), DayWork(date(2026, 5, 2), second, 1)
    alone, both = expect([one], rates, PRICED), expect([one, two], rates, PRICED)
    assert alone.price is not None
    assert both.price is not None
    assert 0 <= alone.price <= both.price + 1e-9
