"""Every command teaches itself, and wrong usage ends with 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    "run",
    "backfill",
    "schedule",
    "plan",
    "sql",
    "lookup",
    "training-set",
    "catalog",
    "status",
    "report",
    "triton",
    "doctor",
    "demo",
    "evaluate",
    "train",
    "profile",
    "quarantine",
    "generations",
    "rollback",
    "vacuum",
]


def platemill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "platemill", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "COLUMNS": "120"},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    done = platemill(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--home", "/tmp/x"),
        ("run", "--home", "/tmp/x", "--archive", "/nowhere/at/all", "--day", "4 May"),
        ("lookup", "--home", "/tmp/x", "driver", "A123BC77"),
        ("sql", "--home", "/tmp/x", "--json", "--csv", "SELECT 1"),
        ("run", "--home", "/tmp/x", "--archive", "/tmp", "--error-budget", "1.5"),
        ("quarantine", "list", "--home", "/tmp/x", "--day", "4 May"),
        ("quarantine", "retry"),
        ("run", "--home", "/tmp/x", "--archive", "/tmp", "--wait", "-1"),
        ("run", "--home", "/tmp/x", "--archive", "/tmp", "--budget", "5"),
        ("plan", "--home", "/tmp/x"),
        ("plan", "--home", "/tmp/x", "--archive", "/nowhere/at/all"),
        ("plan", "--home", "/tmp/x", "--archive", "/tmp", "--budget", "5"),
        ("rollback", "--home", "/tmp/x"),
        ("schedule", "--home", "/tmp/x", "--archive", "/tmp"),
        ("schedule", "--home", "/tmp/x", "--archive", "/tmp", "--cron", "2 o'clock"),
        ("rollback", "--home", "/tmp/x", "--to", "7"),
        ("vacuum", "--home", "/tmp/x", "--keep", "1"),
        ("catalog", "--home", "/tmp/x"),
        ("catalog", "--home", "/tmp/x", "--out", "/etc/hostname"),
        ("evaluate",),
        ("evaluate", "--photos", "/nowhere/at/all"),
        ("evaluate", "--photos", "/tmp", "--min-exact-rate", "90"),
        (
            "training-set",
            "--home",
            "/tmp/x",
            "--entities",
            "/nowhere.csv",
            "--out",
            "/tmp/x.parquet",
        ),
        ("training-set", "--home", "/tmp/x", "--service", "plate_lookup_v1"),
        ("train", "detector"),
        ("train", "export"),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = platemill(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr
