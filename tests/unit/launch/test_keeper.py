"""The keeper with a family of shells instead of Ray: quick, and the same code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platemill.launch.keeper import COMMAND_ENDED

# A child that ignores SIGTERM, one that leaves its session, and one whose parent is gone.
FAMILY = """
trap '' TERM
setsid sleep 1000 &
(sleep 1001 & exec true)
sleep 1002
"""


def started(tmp_path: Path, script: str) -> subprocess.Popen[bytes]:
    folder = tmp_path / "folder"
    (folder / "session_2026" / "logs").mkdir(parents=True)
    (folder / "session_2026" / "logs" / "raylet.out").write_text("hello")
    command = [sys.executable, "-m", "platemill.launch.keeper", "--folder", str(folder)]
    command += ["--logs", str(tmp_path / "logs"), "--grace", "0.5", "--", "sh", "-c", script]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def family(keeper: subprocess.Popen[bytes], size: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = psutil.Process(keeper.pid).children(recursive=True)
        if sum(process.name() == "sleep" for process in found) >= size:
            return found
        time.sleep(0.05)
    raise AssertionError("the family did not come up")


@pytest.mark.parametrize("end", ["stdin", "sigterm"])
def test_the_whole_family_ends_and_the_logs_are_kept(tmp_path: Path, end: str) -> None:
    keeper = started(tmp_path, FAMILY)
    assert keeper.stdin is not None
    members = family(keeper, 3)
    if end == "sigterm":
        os.kill(keeper.pid, signal.SIGTERM)
    else:
        keeper.stdin.close()
    assert keeper.wait(30) == 0
    keeper.stdin.close()
    assert not [process for process in members if process.is_running()]
    assert not (tmp_path / "folder").exists()
    assert (tmp_path / "logs" / "raylet.out").read_text() == "hello"


def test_a_command_that_ends_by_itself_takes_its_family_along(tmp_path: Path) -> None:
    keeper = started(tmp_path, "setsid sleep 1000 & sleep 1")
    assert keeper.stdin is not None
    members = family(keeper, 1)
    assert keeper.wait(30) == COMMAND_ENDED
    keeper.stdin.close()
    assert not [process for process in members if process.is_running()]
