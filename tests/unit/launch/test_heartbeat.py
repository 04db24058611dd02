"""A run's sign of life: who leads it, and how its death is noticed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from small_lake import settings_for

from platemill.errors import FlowLost
from platemill.launch.heartbeat import Heartbeat, Watch, read_pulse
from platemill.launch.stages import Night
from platemill.launch.status import home_status

LEADER = """
import pathlib, sys, time
from platemill.launch.heartbeat import Heartbeat
with Heartbeat(pathlib.Path(sys.argv[1]), 60.0):
    print("beats", flush=True)
    time.sleep(1000)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def leader(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", LEADER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "beats\n"
    process.stdout.close()
    return process


def test_nobody_is_watched_where_nobody_leads(tmp_path: Path) -> None:
    assert read_pulse(tmp_path) is None
    Watch(tmp_path).check()


def test_a_leader_that_lives_is_believed_and_its_end_is_seen(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, 60.0):
        watch = Watch(tmp_path)
        watch.check()
        pulse = read_pulse(tmp_path)
        assert pulse is not None
        assert pulse.is_here and not pulse.is_dead()
    assert read_pulse(tmp_path) is None
    with pytest.raises(FlowLost, match="has ended"):
        watch.check()


def test_a_leader_that_is_killed_is_known_dead_at_once(tmp_path: Path) -> None:
    process = leader(tmp_path)
    watch = Watch(tmp_path)
    watch.check()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(FlowLost, match=rf"process {process.pid} on .* was killed"):
        watch.check()
    pulse = read_pulse(tmp_path)
    assert pulse is not None and pulse.is_dead()


def test_a_leader_of_another_machine_is_dead_when_its_counter_stood_still(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, 60.0) as heart:
        heart.leave()
        here = read_pulse(tmp_path)
    assert here is not None
    there = replace(here, process=replace(here.process, boot="another machine"))
    path, clock = tmp_path / "heartbeat.json", Clock()
    path.write_text(json.dumps(asdict(there)))
    watch = Watch(tmp_path, clock)

    def look_for(seconds: int) -> None:
        for _ in range(seconds):
            clock.now += 1
            watch.check()

    look_for(59)
    path.write_text(json.dumps(asdict(replace(there, beat=1))))
    look_for(45)
    # Whoever watches slept, and its leader with it.
    clock.now += 3600
    watch.check()
    with pytest.raises(FlowLost, match=r"is silent for 60 s, the last beat was at .*Run again"):
        look_for(10)
    assert not there.is_dead()
    assert replace(there, at="2026-01-01T00:00:00+00:00").is_dead()


def test_status_tells_a_run_that_works_from_one_that_crashed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)

    def state() -> tuple[str, str]:
        (row,) = home_status(settings)["runs"]
        return row["state"], row["error"]

    night = Night.new(settings, "r1", ["/photos"], None)
    assert state() == ("unfinished", None)
    process = leader(night.folder)
    assert state() == ("running", None)
    process.kill()
    process.wait()
    kind, error = state()
    assert kind == "crashed"
    assert f"process {process.pid} on " in error and "ended without a word after 20" in error
    with pytest.raises(KeyboardInterrupt), night.ending():
        raise KeyboardInterrupt
    kind, error = state()
    assert kind == "stopped" and "it was stopped at 20" in error
