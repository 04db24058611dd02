"""What a killed flow leaves running goes with the command that started it."""

import subprocess
import sys
from pathlib import Path

import psutil

FLOW = """
import os, subprocess, sys
from pathlib import Path
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("left").write_text(str(left.pid))
os.kill(os.getpid(), 9)
"""
COMMAND = """
import sys
from pathlib import Path
from platemill.errors import RetryableError
from platemill.launch import night
from platemill.settings import load_settings
here = Path.cwd()
try:
    settings = load_settings(home=here, project=here)
    night.run_flow(settings, "dying_flow", here)
except RetryableError as error:
    print(error)
"""


def test_what_a_killed_flow_leaves_is_ended(tmp_path: Path) -> None:
    (tmp_path / "dying_flow.py").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "the run was ended by SIGKILL" in done.stdout, done.stderr
    assert not psutil.pid_exists(int((tmp_path / "left").read_text()))
