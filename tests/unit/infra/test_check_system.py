"""The system check names what is missing with the one command that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


def check(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the check; ``path`` is the only folder that programs are looked for in."""
    environment = os.environ if path is None else {**os.environ, "PATH": os.fspath(path)}
    return subprocess.run(
        [sys.executable, str(PROJECT / "infra" / "check_system.py"), *arguments],
        env=environment,
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


def test_the_tests_need_programs_that_the_mill_does_not(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"version": [3, 12], "libpython": true, "venv": true}')
    given = ("--python", python, "--triton-python", python)
    shutil.copy("/bin/sh", tmp_path / "sh")
    assert check(*given, path=tmp_path).returncode == 0
    done = check(*given, "--for", "tests", path=tmp_path)
    assert done.returncode == 2
    assert "the tests start redis-server, which is missing" in done.stderr
    assert "apt-get install -y chromium chromium-driver prometheus redis-server" in done.stderr
    named = check(*given, "--for", "tests", "--packages", path=tmp_path)
    assert (named.returncode, named.stdout) == (
        0,
        "chromium chromium-driver prometheus redis-server\n",
    )
    for program in ("redis-server", "chromium", "chromedriver", "prometheus", "promtool"):
        fake = tmp_path / program
        fake.write_text("#!/bin/sh\n")
        fake.chmod(0o755)
    assert check(*given, "--for", "tests", path=tmp_path).returncode == 0
    assert check(*given, "--for", "tests", "--packages", path=tmp_path).stdout == "\n"
