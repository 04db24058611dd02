"""The process of a flow ends in time, with its code, whatever is still waited for at its exit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small_lake import PROJECT

PROGRAM = """
import atexit, sys, threading, time
from flows.ending import ended_in_time

def work():
    {drain}
    {work}

sys.exit(ended_in_time(work, {seconds}))
"""
FOR_EVER = "atexit.register(time.sleep, 600)"


@pytest.mark.parametrize(
    ("drain", "work", "seconds", "code"),
    [
        ("pass", "return 0", 600, 0),
        ("pass", "sys.exit(143)", 600, 143),
        (FOR_EVER, "return 4", 0.2, 4),
        (FOR_EVER, "sys.exit(143)", 0.2, 143),
        (FOR_EVER, "raise KeyError('k')", 0.2, 1),
    ],
)
def test_it_ends_with_its_code(drain: str, work: str, seconds: float, code: int) -> None:
    program = PROGRAM.format(drain=drain, work=work, seconds=seconds)
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, stderr=subprocess.PIPE)
    assert done.returncode == code, done.stderr
