"""Runs of the same days at the same time, in real processes: one waits, none doubles or loses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, put
from small_lake import PROJECT, settings_for

from platemill.lake import open_lake
from platemill.settings import Settings
from platemill.warehouse.query import run_sql

PHOTOS, DAYS = 24, 2


class Run:
    """A night in a process, and what it says."""

    def __init__(self, settings: Settings, archive: Path, name: str, *given: str) -> None:
        self.name = name
        self.said: list[list[Any]] = []
        program = PROJECT / "tests" / "support" / "fake_night.py"
        words = [sys.executable, str(program), str(settings.home), str(archive), name, *given]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def until(self, *words: object) -> list[Any]:
        """Read on until it says something that begins like this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1][: len(words)] == list(words):
                return self.said[-1]
        raise AssertionError(f"{self.name} never said {words}: {self.said}")

    def go_on(self) -> None:
        """End a stop."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Read to its end; its exit code."""
        assert self.process.stdout is not None
        self.said += [json.loads(line) for line in self.process.stdout]
        return self.process.wait()

    @property
    def log(self) -> list[str]:
        return [words[1] for words in self.said if words[0] == "log"]

    def count(self, word: str) -> int:
        return sum(words[0] == word for words in self.said)


Start = Callable[..., Run]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for n in range(PHOTOS):
        put(tmp_path / f"photos/gate/2026/03/{1 + n % DAYS:02}/0705{n:02}.jpg", encoded(seed=n))
    return tmp_path / "photos"


@pytest.fixture
def start(settings: Settings, archive: Path) -> Iterator[Start]:
    with ExitStack() as ends:

        def started(name: str, *given: str) -> Run:
            run = Run(settings, archive, name, *given)
            ends.enter_context(run.process)
            ends.callback(run.process.kill)
            return run

        yield started


@dataclass
class Sleeper:
    """A run that sleeps between its last look at its leases and its commit."""

    run: Run
    paused: Path

    def wake(self) -> None:
        self.paused.unlink()
        self.run.process.send_signal(signal.SIGCONT)


@pytest.fixture
def sleeper(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sleeper:
    folder = tmp_path / "failpoints"
    folder.mkdir()
    (folder / "publish.commit.before.json").write_text(json.dumps({"action": "pause"}))
    with monkeypatch.context() as patched:
        patched.setenv("PLATEMILL_FAILPOINTS", str(folder))
        run = start("zombie", "--seconds", "1")
    run.until("drafted")
    paused = folder / "publish.commit.before.paused"
    while not paused.exists():
        assert run.process.poll() is None
    # It has just asked for its leases. Now it is gone for long.
    run.process.send_signal(signal.SIGSTOP)
    return Sleeper(run, paused)


def every_photo_once(settings: Settings) -> bool:
    """Whether every photo is there once, with the plates that its row says."""
    (row,) = run_sql(
        settings,
        "SELECT count(*) AS rows, count(DISTINCT uri) AS uris, sum(plates)::BIGINT AS said, "
        "(SELECT count(*) FROM recognitions) AS plates, "
        "(SELECT sum(images)::BIGINT FROM camera_day_v1) AS tiled FROM images",
    ).to_pylist()
    assert row["said"] == row["plates"] > 0
    assert row == {**row, "rows": PHOTOS, "uris": PHOTOS, "tiled": PHOTOS}
    found = run_sql(
        settings,
        "SELECT DISTINCT generation, failed FROM check_results WHERE severity = 'block'",
    ).to_pylist()
    numbers = open_lake(settings).numbers()
    assert {(row["generation"], row["failed"]) for row in found} == {(n, 0) for n in numbers}
    return True


def test_the_second_waits_and_finds_nothing_left(settings: Settings, start: Start) -> None:
    first = start("first", "--stop-at", "shard")
    first.until("shard")
    second = start("second")
    line = second.until("log")[1]
    assert "day 2026-03-01 is held by run first on" in line
    assert "token 1" in line
    assert "run second waits up to 120 s for it" in line
    first.go_on()
    assert (first.end(), second.end()) == (0, 0)
    assert second.said[-2:] == [["holding", False], ["finished", 0]]
    assert "another run published since the plan was made; planning again" in second.log
    assert (first.count("recorded"), second.count("recorded")) == (first.count("shard"), 0)
    assert open_lake(settings).numbers() == [1]
    assert every_photo_once(settings)


def test_who_does_not_wait_is_told_who_works_there(start: Start) -> None:
    first = start("first", "--stop-at", "shard")
    first.until("shard")
    second = start("second", "--wait", "0")
    assert second.end() == 4
    kind, text = second.said[-1][1:]
    assert kind == "LeaseHeld"
    assert "day 2026-03-01 is held by run first on" in text
    first.go_on()
    assert first.end() == 0


def test_runs_that_start_together_lose_and_double_nothing(settings: Settings, start: Start) -> None:
    runs = [start(f"r{n}") for n in range(3)]
    assert [run.end() for run in runs] == [0, 0, 0]
    assert every_photo_once(settings)
    assert sum(run.count("published") for run in runs) == 1


def test_a_killed_run_is_taken_over_at_once_and_its_shards_are_kept(
    settings: Settings, start: Start
) -> None:
    first = start("first", "--stop-at", "recorded")
    kept = first.until("recorded")[1]
    first.process.kill()
    first.process.wait()
    second = start("second")
    assert second.end() == 0
    assert any("run second takes day=2026-03-01 over from run first" in line for line in second.log)
    assert ["recorded", kept] not in second.said
    assert every_photo_once(settings)


@pytest.mark.parametrize("place", ["shard", "recorded", "drafted"])
def test_a_stopped_run_loses_its_leases_and_records_and_commits_nothing(
    settings: Settings, start: Start, place: str
) -> None:
    zombie = start("zombie", "--stop-at", place, "--seconds", "1")
    zombie.until(place)
    zombie.process.send_signal(signal.SIGSTOP)
    second = start("second", "--seconds", "1")
    assert second.end() == 0
    assert any("takes day=2026-03-01 over from run zombie" in line for line in second.log)
    assert any("which is silent" in line for line in second.log)
    recorded = zombie.count("recorded")
    zombie.process.send_signal(signal.SIGCONT)
    zombie.go_on()
    assert zombie.end() == 4
    assert zombie.said[-1][1] == "LeaseLost"
    assert zombie.said[-1][2].endswith("run again if anything is left to do")
    assert zombie.count("published") == 0
    assert zombie.count("recorded") == recorded
    assert open_lake(settings).numbers() == [1]
    current = open_lake(settings).current()
    assert current is not None
    assert current.run_id == "second"
    assert every_photo_once(settings)


def test_a_run_that_is_stopped_between_its_last_look_and_its_commit_is_refused(
    settings: Settings, start: Start, sleeper: Sleeper
) -> None:
    zombie = sleeper.run
    second = start("second", "--seconds", "1")
    assert second.end() == 0
    assert any("takes publish over from run zombie" in line for line in second.log)
    sleeper.wake()
    assert zombie.end() == 4
    assert zombie.said[-1][1] == "LeaseLost"
    current = open_lake(settings).current()
    assert current is not None
    assert (current.number, current.run_id) == (1, "second")
    assert every_photo_once(settings)


def test_a_zombie_commits_where_nobody_else_has_and_the_successor_goes_on_from_there(
    settings: Settings, start: Start, sleeper: Sleeper
) -> None:
    """The window between the last look and the commit: it is as if it had come a little earlier."""
    zombie = sleeper.run
    second = start("second", "--seconds", "1", "--stop-at", "drafted")
    second.until("drafted")
    sleeper.wake()
    assert zombie.end() == 0
    assert zombie.count("published") == 1
    second.go_on()
    assert second.end() == 0
    # The number was taken: it merged its shards again, on top of what the zombie had committed.
    assert any("was published by another run" in line for line in second.log)
    assert open_lake(settings).numbers() == [1, 2]
    assert every_photo_once(settings)
