"""Code that needs torch, run in Triton's environment: torch is not in the main one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("PLATEMILL_TRITON_PYTHON", ROOT / ".venv-triton" / "bin" / "python"))


def run(*arguments: str) -> str:
    """Run Triton's Python with these arguments; it has to end well. Returns what it printed."""
    done = subprocess.run(
        [str(PYTHON), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        # Elsewhere than in the root, where a folder might hide a package of its name.
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(code: str, *arguments: str) -> None:
    """Run code; its own asserts have to hold."""
    run("-c", code, *arguments)
