"""A disk that is full: an error that says so, nothing half-written, and a rerun that succeeds."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from platemill.errors import RetryableError
from platemill.lake.storage import plain

SUPPORT = Path(__file__).parents[2] / "support"

NIGHT = """
import sys
from pathlib import Path
import duckdb, pyarrow.parquet as pq
sys.path.insert(0, sys.argv[1])
from small_lake import Photo, at, later, night, settings_for
from platemill.errors import RetryableError
from platemill.lake import open_lake
from platemill.schema import TABLES
from platemill.warehouse.query import run_sql

disk = Path(sys.argv[2])
FIRST = [Photo("file:///0", "c0", at("2026-05-01 10:00"), (("A000AA77", 0.9),))]
SECOND = [
    Photo(f"file:///{n}", f"c{n % 7}", at(f"2026-05-0{n % 3 + 1} 11:{n % 60:02}:{n // 60:02}"),
          ((f"B{n % 1000:03}BB77", n / 3000),))
    for n in range(1, 3000)
]
COUNT = "SELECT (SELECT count(*) FROM images), (SELECT sum(sightings)::BIGINT FROM plate_month_v1)"

def rows(settings):
    return [tuple(row.values()) for row in run_sql(settings, COUNT).to_pylist()]

def half_files(lake):
    for path in lake.root.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            pq.read_metadata(path)
    return list((lake.root / "_tmp").iterdir())

settings = settings_for(disk / "home")
lake = open_lake(settings)
night(settings, FIRST, "r1")
"""

TMPFS = (
    NIGHT
    + """
import shutil
refused = []
for free in range(0, 640_000, 80_000):
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(b"0" * max(0, shutil.disk_usage(disk).free - free))
    before = lake.current().number
    try:
        night(settings, SECOND, "r2", now=later(1))
    except RetryableError as error:
        assert error.exit_code == 4 and "there is no room left for" in str(error), error
        refused.append(free)
        filler.unlink()
        # The commit may have been reached; what follows from it is then done by whoever comes next.
        assert rows(settings) == ([(1, 1)] if lake.current().number == 1 else [(3000, 3000)])
    else:
        filler.unlink()
        break
assert not half_files(lake)
assert len(refused) > 2, refused
night(settings, SECOND, "r3", now=later(2))
print(rows(settings), len(refused))
"""
)

LIMIT = (
    NIGHT
    + """
import resource
refused = 0
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (0, 1_000, 5_000, 20_000, 40_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        night(settings, SECOND, "r2", now=later(1))
    except RetryableError as error:
        assert error.exit_code == 4 and "there is no room left for" in str(error), error
        refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not half_files(lake)
    assert rows(settings) == [(1, 1)]
night(settings, SECOND, "r3", now=later(2))
print(rows(settings), refused)
"""
)


def run(code: str, disk: Path, *before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", code, str(SUPPORT), str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_small_disk(tmp_path: Path) -> None:
    """On a tmpfs of 4 MB, mounted in a namespace of its own."""
    mount = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    own = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        mount,
        "sh",
        str(tmp_path),
    ]
    if not shutil.which("unshare") or subprocess.run([*own, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs; the limit below is tested")
    said = run(TMPFS, tmp_path, *own)
    assert said.startswith("[(3000, 3000)] ")


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """With RLIMIT_FSIZE, which every machine has."""
    assert run(LIMIT, tmp_path) == "[(3000, 3000)] 5"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError(f"IO Error: could not write: {os.strerror(errno.ENOSPC)}"),
    ],
)
def test_a_full_disk_is_told_whoever_met_it(error: Exception, tmp_path: Path) -> None:
    told = plain(error, tmp_path)
    assert isinstance(told, RetryableError)
    assert str(tmp_path) in str(told)
    assert "Free some space" in str(told)


@pytest.mark.parametrize("error", [ValueError("no"), RetryableError("No space left on device")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert plain(error, tmp_path) is error
