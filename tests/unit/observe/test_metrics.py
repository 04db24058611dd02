"""A run's metrics are what its journal says, at any moment of it and at its end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_journal import BEGAN, at, small_night, write_events

from platemill.observe.metrics import LAST_RUN, METRICS, RunMetrics, write_metrics


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as it is written."""
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_those_of_the_journal(tmp_path: Path) -> None:
    write_events(tmp_path, small_night())
    now = BEGAN.timestamp() + 62
    found = samples(RunMetrics(tmp_path, "r1", lambda: now).text())
    expected = {
        "platemill_run_info,run_id=r1": 1,
        "platemill_run_start_time_seconds": BEGAN.timestamp(),
        "platemill_images_planned": 100,
        "platemill_images_done": 50,
        # 40 images in the 20 s between the counts, and 2 s since.
        "platemill_images_per_second": 40 / 22,
        "platemill_seconds_left": 50 * 22 / 40,
        "platemill_images_total,status=recognised": 14,
        "platemill_images_total,status=no_plate": 4,
        "platemill_images_total,status=quarantined": 2,
        "platemill_plates_total": 18,
        "platemill_image_bytes_total": 2000,
        "platemill_shards_planned": 10,
        "platemill_shards_total": 2,
        "platemill_shard_failures_total": 1,
        "platemill_shard_seconds_count": 2,
        "platemill_shard_seconds_sum": 8 + 25,
        "platemill_shard_seconds_bucket,le=5.0": 0,
        "platemill_shard_seconds_bucket,le=10.0": 1,
        "platemill_shard_seconds_bucket,le=20.0": 1,
        "platemill_shard_seconds_bucket,le=60.0": 2,
        "platemill_shard_seconds_bucket,le=+Inf": 2,
        "platemill_stage_seconds,stage=inventory": 4,
        "platemill_stage_seconds,stage=recognise": 11,
        "platemill_stage_attempts_total,result=failed,stage=recognise": 1,
        "platemill_stage_attempts_total,result=ended,stage=plan": 1,
        "platemill_nodes,kind=cpu": 1,
        "platemill_nodes,kind=gpu": 0,
        # The node of the job that was killed left with its stage, 10 s after it came.
        "platemill_node_seconds_total,kind=cpu": 10 + 42,
        "platemill_node_seconds_total,kind=gpu": 20,
        "platemill_servers_started_total": 1,
        "platemill_servers_lost_total": 1,
        "platemill_workers_lost_total": 1,
        "platemill_server_start_seconds": 12.5,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert "platemill_run_end_time_seconds" not in found


def test_a_journal_is_read_on_where_it_ended(tmp_path: Path) -> None:
    night = small_night()
    metrics = RunMetrics(tmp_path, "r1")
    assert samples(metrics.text())["platemill_shards_total"] == 0
    for event in night:
        write_events(tmp_path, [event])
        metrics.text()
    alone = samples(RunMetrics(tmp_path, "r1", lambda: BEGAN.timestamp() + 90).text())
    followed = samples(metrics.text())
    moving = ("_seconds_total", "per_second", "seconds_left")
    for name in alone:
        if not any(word in name for word in moving):
            assert followed[name] == alone[name], name
    # One that is half written, and one that is none.
    write_events(tmp_path, [{"at": at(70), "event": "shard", "key": "half"}])
    assert samples(metrics.text())["platemill_shards_total"] == 2


def test_the_rate_is_said_while_images_are_made_and_not_after(tmp_path: Path) -> None:
    write_events(tmp_path, small_night())
    now = BEGAN.timestamp() + 60
    metrics = RunMetrics(tmp_path, "r1", lambda: now)
    assert samples(metrics.text())["platemill_images_per_second"] == pytest.approx(2.0)
    stage = {"stage": "recognise", "began": at(16), "ended": at(75), "seconds": 59, "attempt": 2}
    write_events(tmp_path, [{"at": at(75), "event": "stage", **stage}])
    found = samples(metrics.text())
    assert "platemill_images_per_second" not in found
    assert found["platemill_nodes,kind=cpu"] == 0
    assert found["platemill_node_seconds_total,kind=cpu"] == pytest.approx(10 + 55)


def test_several_may_ask_at_once(tmp_path: Path) -> None:
    write_events(tmp_path, small_night() * 200)
    metrics = RunMetrics(tmp_path, "r1")
    told: list[float] = []
    threads = [
        threading.Thread(
            target=lambda: told.append(samples(metrics.text())["platemill_shards_total"])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [400.0] * 8


def test_the_last_metrics_are_in_the_run_and_in_the_home(tmp_path: Path) -> None:
    run, home = tmp_path / "r1", tmp_path / "metrics"
    run.mkdir()
    write_events(run, small_night())
    write_metrics(run, "r1", home, succeeded=True)
    text = (run / METRICS).read_text()
    assert (home / LAST_RUN).read_text() == text
    assert samples(text)["platemill_run_succeeded"] == 1
    assert samples(text)["platemill_run_end_time_seconds"] > BEGAN.timestamp()
    write_metrics(run, "r2", home, succeeded=False)
    found = samples((home / LAST_RUN).read_text())
    assert found["platemill_run_succeeded"] == 0
    assert found["platemill_run_info,run_id=r2"] == 1
    # Nothing half written is left where a collector would read it.
    assert [path.name for path in home.iterdir()] == [LAST_RUN]
