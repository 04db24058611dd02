"""The system check names what is missing with the one command that installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / "infra" / "check_system.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def fake_python(folder: Path, answer: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return os.fspath(path)


def test_a_good_system_passes(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"version": [3, 12], "libpython": true, "venv": true}')
    done = check("--python", python, "--triton-python", python)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_library_comes_with_its_cure(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"version": [3, 11], "libpython": false, "venv": false}')
    done = check("--python", python, "--triton-python", python)
    assert done.returncode == 2
    assert "sudo apt-get install -y libpython3.11 python3.11-venv" in done.stderr


def test_a_python_that_numpy_1_does_not_know_is_refused_for_triton(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"version": [3, 13], "libpython": true, "venv": true}')
    done = check("--python", python, "--triton-python", python)
    assert done.returncode == 2
    assert "TRITON_PYTHON=" in done.stderr


def test_a_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = check("--python", os.fspath(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "cannot be run" in done.stderr
