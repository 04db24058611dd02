"""A backfill as a person runs it, with real parts: interrupted, gone on with, beside a night."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from platemill.journal import read_journal
from platemill.render.archive import render_archive
from platemill.settings import load_settings
from platemill.warehouse.query import run_sql

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(900)]

MARK = "BACKFILL_UNDER_TEST"
FROM_TO = ("--from", "2026-05-04", "--to", "2026-05-05", "--parallel", "2")
DAYS = ("--day", "2026-05-04", "--day", "2026-05-05")
WAIT = 420.0
# What is the same whoever recognised an image, and when.
FACTS = {
    "images": "SELECT * EXCLUDE (run_id, processed_at) FROM images ORDER BY uri",
    "recognitions": "SELECT * EXCLUDE (processed_at) FROM recognitions ORDER BY uri, plate_index",
    "plate_day_v1": "SELECT plate, day, sightings FROM plate_day_v1 ORDER BY ALL",
    "plate_week_v1": "SELECT plate, week, sightings FROM plate_week_v1 ORDER BY ALL",
    "camera_month_v1": "SELECT camera_id, month, images, plates FROM camera_month_v1 ORDER BY ALL",
}


class Command:
    """A command in a process group of its own, as a shell starts it."""

    def __init__(self, mark: str, *arguments: str | Path) -> None:
        self.mark = mark
        self.process = subprocess.Popen(
            [sys.executable, "-m", "platemill", *map(str, arguments)],
            # Small shards, so that there is something between none and all of them.
            env={**os.environ, MARK: mark, "PLATEMILL_SHARD_IMAGES": "2"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=WAIT)
        return self.process.returncode, out, err

    def answer(self) -> dict[str, Any]:
        """The JSON object on its stdout, once it has ended well."""
        code, out, err = self.end()
        assert code == 0, err
        parsed: dict[str, Any] = json.loads(out)
        return parsed

    def kill(self) -> None:
        """End what is left of it, should a test have failed."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()

    def family(self) -> list[psutil.Process]:
        """Whatever runs with its mark in the environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def shared_memory(self) -> set[Path]:
        """The files in /dev/shm that its family has open."""
        found: set[Path] = set()
        for process in self.family():
            with contextlib.suppress(OSError):
                maps = Path(f"/proc/{process.pid}/maps").read_text()
                found.update(map(Path, re.findall(r"/dev/shm/\S+", maps)))
        return found


def until(condition: Callable[[], Any], command: Command) -> Any:
    """Wait until something is so, while a command works."""
    deadline = time.monotonic() + WAIT
    while not (seen := condition()):
        assert command.process.poll() is None, command.end()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return seen


def shards(home: Path) -> dict[str, list[dict[str, Any]]]:
    """What each part's job has recorded, by its run."""
    journals = {path.parent.name: read_journal(path.parent) for path in parts(home)}
    return {
        run_id: [event for event in events if event["event"] == "shard"]
        for run_id, events in journals.items()
    }


def parts(home: Path) -> list[Path]:
    """The plans of the parts of backfills; the runs that lead them do not recognise."""
    return sorted(p for p in home.glob("runs/*-*-*/plan.json"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    render_archive(folder, images=24, seed=11)
    return folder


@dataclass
class Story:
    """What happened in a home: a backfill was interrupted, and went on beside a night."""

    home: Path
    code: int
    left: list[str]
    memory: set[Path]
    kept: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]
    night: dict[str, Any]


@pytest.fixture(scope="module")
def story(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("backfilled") / "home"
    given = ("backfill", "--home", home, "--archive", photos / "archive", *FROM_TO, "--json")
    first = Command(f"first-{home.parent}", *given)
    commands = [first]
    try:
        # Two parts at work at once, and something is recorded.
        until(lambda: sum(map(bool, shards(home).values())) >= 1 and len(shards(home)) > 1, first)
        memory = first.shared_memory()
        # As Ctrl-C in a terminal: the whole group gets it.
        os.killpg(first.process.pid, signal.SIGINT)
        code, _, _ = first.end()
        left = [process.name() for process in first.family()]
        kept = shards(home)
        second = Command(f"second-{home.parent}", *given)
        known = {path.parent.name for path in parts(home)}
        until(lambda: [p for p in parts(home) if p.parent.name not in known], second)
        night = Command(
            f"night-{home.parent}", "run", "--home", home, "--archive", photos / "late", "--json"
        )
        commands += [second, night]
        yield Story(home, code, left, memory, kept, second.answer(), night.answer())
    finally:
        for command in commands:
            command.kill()


def test_an_interrupt_leaves_no_process_and_no_shared_memory(story: Story) -> None:
    assert story.code != 0
    assert story.left == []
    assert [path for path in story.memory if path.exists()] == []
    assert story.memory, "its Triton and Ray had shared memory, or this shows nothing"


def test_going_on_does_only_the_rest(story: Story) -> None:
    kept = [event for events in story.kept.values() for event in events]
    assert kept
    whole = {event["key"] for event in kept if not event["quarantined"]}
    again = [
        event["key"]
        for run_id, events in shards(story.home).items()
        if run_id not in story.kept
        for event in events
    ]
    # A shard with a broken image is tried again by the next run, as nights do; no other is.
    assert whole
    assert whole.isdisjoint(again)
    assert [part["state"] for part in story.summary["parts"]] == ["published"] * len(
        story.summary["parts"]
    )


def test_parts_are_worked_on_at_once(story: Story) -> None:
    folder = story.home / "runs"
    times = []
    for part in story.summary["parts"][:2]:
        events = read_journal(folder / part["run_id"])
        stages = {event["stage"]: event for event in events if event["event"] == "stage"}
        times.append((stages["plan"]["began"], stages["publish"]["ended"]))
    (begin, end), (other_begin, other_end) = times
    assert max(begin, other_begin) < min(end, other_end)


def test_a_night_beside_it_publishes_too(story: Story) -> None:
    assert story.night["images_new"] == 1
    settings = load_settings(home=story.home)
    runs = run_sql(settings, "SELECT DISTINCT run_id FROM images").to_pylist()
    assert story.night["run_id"] in {row["run_id"] for row in runs}


def test_all_is_as_a_plain_run_has_it(story: Story, photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "plain"
    archives = ("--archive", photos / "archive", "--archive", photos / "late")
    Command(f"plain-{home}", "run", "--home", home, *archives, *DAYS, "--json").answer()
    plain, filled = load_settings(home=home), load_settings(home=story.home)
    for table, query in FACTS.items():
        rows = run_sql(plain, query).to_pylist()
        assert rows, table
        assert run_sql(filled, query).to_pylist() == rows, table
