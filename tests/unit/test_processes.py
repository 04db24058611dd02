"""A process ends with its parent, and orphans are adopted."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

CHILD = """
import signal, sys, time
from platemill.processes import end_with_parent
end_with_parent(signal.SIGTERM, int(sys.argv[1]) if len(sys.argv) > 1 else None)
print("ready", flush=True)
time.sleep(60)
"""

PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", {CHILD!r}, str(os.getpid())], stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def wait_until_gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert wait_until_gone(child)


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "1"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == -15
    assert done.stdout == b""


def test_orphans_are_adopted() -> None:
    code = """
import os, subprocess, sys, time
from platemill.processes import adopt_orphans
adopt_orphans()
middle = subprocess.Popen(
    [sys.executable, "-c", "import subprocess, sys; "
     "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"],
    stdout=subprocess.PIPE,
)
orphan = int(middle.stdout.readline())
middle.wait()
import psutil
print(psutil.Process(orphan).ppid() == os.getpid())
psutil.Process(orphan).kill()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
