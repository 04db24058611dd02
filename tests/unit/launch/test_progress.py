"""A stage's progress: a bar in a terminal, lines elsewhere, both with rate and time left."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from platemill.launch.progress import StageProgress, Step
from platemill.launch.records import JobProgress

_PROGRAM = """
import time
from platemill.launch.progress import StageProgress
from platemill.launch.records import JobProgress
with StageProgress("recognise") as bar:
    for done in range(0, 9):
        bar.update(JobProgress(images_done=done * 100, images_total=2000, plates=7 * done))
        time.sleep(0.2)
"""


def in_a_terminal(program: str) -> str:
    """What a program shows on a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
    assert process.wait(30) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_a_terminal_shows_rate_and_time_left() -> None:
    shown = in_a_terminal(_PROGRAM)
    assert "800/2000 images" in shown
    assert re.search(r"[0-9.,]+ images/s, 0:00:\d\d left", shown)


def test_elsewhere_there_are_lines_and_the_last_step_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told: list[Step] = []
    with StageProgress("recognise", tell=told.append) as bar:
        bar._rate._clock = lambda: now
        for second in range(13):
            now = 1000.0 + second
            done = JobProgress(images_done=50 * second, images_total=2000, plates=second)
            bar.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "recognise: 0 plates, 0 quarantined, 0 of 2,000 images",
        "recognise: 5 plates, 0 quarantined, 250 of 2,000 images, 50.0 images/s, 0:00:35 left",
        "recognise: 10 plates, 0 quarantined, 500 of 2,000 images, 50.0 images/s, 0:00:30 left",
        "recognise: 12 plates, 0 quarantined, 600 of 2,000 images, 50.0 images/s, 0:00:28 left",
    ]
    assert [step.done for step in told] == [50 * second for second in range(13)]
    assert str(told[-1]) == lines[-1]


def test_a_stage_that_shows_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress("features", "rows"):
        pass
    assert capsys.readouterr().err == ""
