"""What a page reads from a journal: attempts, lanes, speed and what was lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from journals import BEGIN, estimate, event, node_down, node_up, shard, stage, whole_night
from small_journal import small_night

from platemill.report.course import course
from platemill.report.drawings import lane_chart, stage_lanes, ticks


def test_attempts_say_how_they_ended() -> None:
    times = course(small_night())
    assert times is not None
    tries = [(one.stage, one.error, one.is_open) for one in times.tries]
    assert tries[:3] == [
        ("inventory", "", False),
        ("plan", "", False),
        ("recognise", "ServerUnavailable", False),
    ]
    # The second one was cut off: only its job's lines tell of it.
    assert tries[3] == ("recognise", "", True)
    recognise = next(lane for lane in stage_lanes(times) if lane.name == "recognise")
    assert [bar.kind for bar in recognise.bars] == ["failed", "open"]
    assert "2 attempts" in recognise.note


def test_what_is_lost_is_told_once_a_kind_in_a_row() -> None:
    events = small_night()
    events += [
        event(90, "shard_failed", key=f"s{n}", attempt=1, why="gone for good") for n in range(5)
    ]
    times = course(events)
    assert times is not None
    lost = [(part.what, part.where, part.why, part.times) for part in times.lost]
    assert ("node", "c", "preempted", 1) in lost
    assert ("Triton server", "c", "gone", 1) in lost
    assert ("worker", "c", "gone", 1) in lost
    assert lost[-1][0].startswith("shard") and lost[-1][2:] == ("gone for good", 5)


def test_a_job_that_ends_loses_no_node() -> None:
    times = course(whole_night())
    assert times is not None
    assert times.lost == ()


def test_images_a_second_add_up_to_the_images() -> None:
    times = course(whole_night())
    assert times is not None
    assert sum(times.rate) * times.step == pytest.approx(40, rel=1e-6)
    assert times.rate_began == pytest.approx(40)
    assert times.seconds == pytest.approx(130)


def test_nodes_and_their_workers_have_lanes() -> None:
    events = [
        estimate(0, {"2026-05-01": 20}, private=False),
        node_up(1, "a"),
        node_up(2, "b", "gpu"),
        shard("k1", "2026-05-01", 3, 9, 10, "a", worker="w1", plates=4),
        shard("k2", "2026-05-01", 4, 8, 5, "b", worker="w2"),
        shard("k2", "2026-05-01", 4, 8, 5, "b", worker="w2"),
        shard("k3", "2026-05-01", 5, 9, 5, "b", worker="w3"),
        node_down(9, "b", "preempted"),
        stage("recognise", 0, 10),
    ]
    times = course(events)
    assert times is not None
    names = [(lane.kind, lane.name) for lane in times.nodes]
    assert names == [
        ("node", "node a (cpu)"),
        ("worker", "w1"),
        ("node", "node b (gpu)"),
        ("worker", "w2"),
        ("worker", "w3"),
    ]
    assert times.nodes[0].note == "10 images"
    assert "4 plates" in times.nodes[1].bars[0].said
    assert [mark.kind for mark in times.nodes[2].marks] == ["lost"]


def test_very_many_shards_and_workers_stay_few_bars_and_lanes() -> None:
    events = [node_up(0)]
    for number in range(6000):
        worker = f"w{number % 60:02}"
        began = number / 60
        events.append(shard(f"k{number}", "2026-05-01", began, began + 0.9, 3, "n1", worker=worker))
    events.append(stage("recognise", 0, 101))
    times = course(events)
    assert times is not None
    assert len(times.nodes) == 24
    assert times.more_workers == 60 - 23
    many = [shard(f"m{n}", "2026-05-01", n, n + 0.9, 3, worker="w") for n in range(5000)]
    times = course([node_up(0), *many])
    assert times is not None
    [_, lane] = times.nodes
    assert len(lane.bars) <= 250
    assert sum(int(bar.said.split()[0]) for bar in lane.bars) == 5000
    assert len(lane_chart(lane, times.seconds)) < 60_000


def test_bars_that_overlap_lie_below_one_another() -> None:
    events = [
        shard("k1", "2026-05-01", 0, 10, 3, worker="w"),
        shard("k2", "2026-05-01", 5, 15, 3, worker="w"),
    ]
    times = course(events)
    assert times is not None
    drawn = lane_chart(times.nodes[1], times.seconds)
    assert 'y="3"' in drawn and 'y="17"' in drawn


def test_a_run_that_goes_on_ends_now() -> None:
    events = [stage("inventory", 0, 8), stage("plan", 8, 10), node_up(15)]
    times = course(events, BEGIN + timedelta(seconds=60))
    assert times is not None
    assert times.tries[-1].stage == "recognise" and times.tries[-1].is_open
    assert times.tries[-1].ended == pytest.approx(60)


def test_lines_that_say_nothing_are_passed_over() -> None:
    odd = [
        event(1, "stage"),
        event(2, "shard", key="k"),
        event(3, "never heard of"),
        {"at": "tomorrow", "event": "node_down", "node": "a"},
        event(4, "server_lost"),
        event(5, "stage_failed", stage="plan", began=5, ended=None),
    ]
    times = course([*odd, *whole_night()])
    assert times is not None
    assert [one.stage for one in times.tries if not one.is_open] == [
        *("inventory", "plan", "recognise", "facts", "tiles", "checks", "features", "publish")
    ]
    assert course([]) is None
    assert course([{"at": "tomorrow", "event": "stage"}]) is None


@pytest.mark.parametrize("seconds", [0, 0.2, 1, 7, 52, 300, 4000, 90_000, 1e7])
def test_the_axis_has_few_round_times(seconds: float) -> None:
    found = ticks(seconds)
    assert 1 <= len(found) <= 7
    assert found[0].place == 0
    assert all(0 <= tick.place <= 100 for tick in found)
    assert len({tick.said for tick in found}) == len(found)
