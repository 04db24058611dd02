"""A night whose disk is full, whose clock jumps, or that is not alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.contents import contents_of, differences, generations_of, lies
from chaos.lane import Lane, Prepared

from platemill.errors import DiskFull
from platemill.settings import load_settings
from platemill.warehouse.publish import finish_publish

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

# Room beyond what the home has at the start: a night takes some three megabytes.
ROOM_KB = (0, 64, 256, 512, 1024, 1536)


def check(lane: Lane, world: Prepared, start: str, problems: list[str] | None = None) -> None:
    """The home is as after an undisturbed night."""
    wanted = world.starts[start]
    assert lies(lane.home, wanted.facts) == []
    assert differences(wanted.contents, contents_of(lane.home)) == []
    assert tuple(generations_of(lane.home)) == wanted.generations
    assert lane.order("compare") == 0
    assert not problems


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that a small filesystem can be put under."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = _mount(folder, 65_536)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(folder: Path, kilobytes: int, *options: str) -> subprocess.CompletedProcess[str]:
    said = ",".join([*options, f"size={kilobytes}k"])
    command = ["mount", "-t", "tmpfs", "-o", said, "platemill-test", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_costs_the_night_and_nothing_else(
    lane: Lane, world: Prepared, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "home", disk / "home")
    codes = []
    for room in ROOM_KB:
        assert _mount(disk, 65_536, "remount").returncode == 0
        lane.place(world.seed, "recognised")
        # The file names its lake by an absolute path, and the home has been moved.
        assert finish_publish(load_settings(home=lane.home))
        free = shutil.disk_usage(disk).free // 1024
        assert _mount(disk, 65_536 - free + room, "remount").returncode == 0
        problems: list[str] = []
        with lane.reading(problems, world.starts["recognised"].states):
            codes.append(lane.order("night"))
            assert _mount(disk, 65_536, "remount").returncode == 0
            assert lane.order("night") == 0
        check(lane, world, "recognised", problems)
    assert codes[0] == DiskFull.exit_code, "with no room at all a night cannot end well"


@pytest.mark.parametrize("seconds", [-172_800.0, 172_800.0])
def test_a_clock_that_jumps_changes_nothing_but_times(
    lane: Lane, world: Prepared, seconds: float
) -> None:
    lane.place(world.seed, "recognised")
    # Every look at the clock lies somewhere between the right time and that many seconds off.
    assert lane.order("night", clock=seconds) == 0
    check(lane, world, "recognised")
    assert lane.order("night") == 0
    check(lane, world, "recognised")


def test_two_runs_over_the_same_days_started_together_publish_once(
    lane: Lane, world: Prepared
) -> None:
    lane.place(world.seed, "base")
    problems: list[str] = []
    with lane.reading(problems, world.starts["base"].states):
        both = [lane.begin("night"), lane.begin("night")]
        assert [lane.ended(pid) for pid in both] == [0, 0]
    lane.quiet()
    check(lane, world, "base", problems)
