"""A night whose lake is in a bucket, over a network that loses requests and answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_proxy import FAULTS, Schedule, faulty_proxy
from s3_server import BUCKET, S3Server, point_at, s3_server
from small_lake import Photo, at, later, night, settings_for

from platemill.errors import RetryableError
from platemill.lake import open_lake
from platemill.lake.s3 import S3Storage
from platemill.schema import TABLES
from platemill.settings import Settings
from platemill.warehouse.query import run_sql

# Longer than moto takes to answer on a machine that is busy.
TIMEOUT = 2.0
LATE = 3.0

FIRST = [
    Photo(f"file:///{day}-{n}", f"c{n % 2}", at(f"2026-05-0{day} 1{n}:00"), ((f"A00{n}AA77", 0.9),))
    for day in (1, 2)
    for n in range(3)
]
SECOND = [
    Photo("file:///late", "c1", at("2026-05-01 23:00"), (("B222BB77", 0.5), ("A001AA77", 0.7))),
    replace(FIRST[0], plates=(("C333CC77", 0.4),), image_id="other"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platemill.lake.trials._FIRST_PAUSE", 0.005)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same two nights in a folder."""
    settings = settings_for(tmp_path_factory.mktemp("folder"))
    two_nights(settings)
    return settings


def bucket_settings(home: Path) -> Settings:
    return settings_for(home, lake_url=f"s3://{BUCKET}/lake", lake_timeout_seconds=TIMEOUT)


def two_nights(settings: Settings) -> None:
    night(settings, FIRST, "r1")
    night(settings, SECOND, "r2", now=later(1))


READER = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    connection.execute("SET autoinstall_known_extensions = false")
    for table in sys.argv[2:]:
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        print(table, sorted(rows, key=repr))
"""


def contents(settings: Settings) -> list[str]:
    """Every table of the warehouse file, a line a table, as a DuckDB of nobody's reads it."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(settings.warehouse_file), *TABLES],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(TABLES)
    # No plate is in these, no check was run, and nothing was counted.
    others = ("images", "camera", "check_results", "run_costs")
    assert all("A001AA77" in line or line.startswith(others) for line in lines)
    return lines


def test_a_night_in_a_bucket_is_the_night_in_a_folder(
    server: S3Server, undisturbed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.empty()
    point_at(monkeypatch, server.url)
    bucket = bucket_settings(tmp_path / "bucket")
    two_nights(bucket)
    assert open_lake(bucket).current() == open_lake(undisturbed).current()
    assert contents(bucket) == contents(undisturbed)

    elsewhere = bucket_settings(tmp_path / "elsewhere")
    elsewhere.home.mkdir()
    asked = "SELECT plate, sum(sightings) FROM plate_month_v1 GROUP BY 1 ORDER BY 1"
    assert run_sql(elsewhere, asked) == run_sql(undisturbed, asked)
    assert contents(elsewhere) == contents(undisturbed)


@pytest.mark.parametrize("fault", [*FAULTS, "all"])
def test_a_night_over_a_network_that_fails(
    server: S3Server,
    undisturbed: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    server.empty()
    faults = FAULTS if fault == "all" else (fault,)
    schedule = Schedule(seed=len(fault), share=0.05 if fault == "late" else 0.3, faults=faults)
    bucket = bucket_settings(tmp_path / "bucket")
    with faulty_proxy(server.port, schedule, LATE) as url:
        point_at(monkeypatch, url)
        two_nights(bucket)
        assert sum(schedule.done.values()) >= 3
        assert open_lake(bucket).current() == open_lake(undisturbed).current()
    assert contents(bucket) == contents(undisturbed)


def test_a_winner_whose_answer_was_lost_knows_it_won(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.empty()
    schedule = Schedule(seed=1, share=1.0, faults=("lost",))
    with faulty_proxy(server.port, schedule, LATE) as url:
        point_at(monkeypatch, url)
        storage = S3Storage(f"s3://{BUCKET}/lake", tmp_path / "cache", TIMEOUT)
        assert storage.create("a", b"the same bytes")
        assert not storage.create("a", b"the same bytes")
        temporary = storage.temporary()
        temporary.write_bytes(b"rows")
        assert storage.adopt(temporary, "t/x")
        assert not storage.adopt(temporary, "t/x")
    assert schedule.done["lost"] > 8


def test_large_files_over_a_network_that_fails(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.empty()
    schedule = Schedule(seed=4, share=0.4, faults=("500", "drop", "lost", "half"))
    with faulty_proxy(server.port, schedule, LATE) as url:
        point_at(monkeypatch, url)
        storage = S3Storage(f"s3://{BUCKET}/lake", tmp_path / "cache", 10.0, 20 << 20)
        temporary = storage.temporary()
        temporary.write_bytes(os.urandom(21 << 20))
        assert storage.adopt(temporary, "big")
        assert not storage.adopt(temporary, "big")
        storage.forget("big")
        assert storage.locate("big").read_bytes() == temporary.read_bytes()
    assert sum(schedule.done.values()) > 3


def test_a_download_that_breaks_leaves_nothing(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.empty()
    point_at(monkeypatch, server.url)
    S3Storage(f"s3://{BUCKET}/lake", tmp_path / "1").create("t/x", b"0123456789")
    monkeypatch.setattr("faulty_proxy._IN_A_ROW", 99)
    schedule = Schedule(seed=1, share=1.0, faults=("half",))
    with faulty_proxy(server.port, schedule, LATE) as url:
        point_at(monkeypatch, url)
        storage = S3Storage(f"s3://{BUCKET}/lake", tmp_path / "2", TIMEOUT)
        with pytest.raises(RetryableError, match="did not answer in 8 tries"):
            storage.locate("t/x")
        assert [path for path in storage.root.rglob("*") if path.is_file()] == []
    assert schedule.done["half"] == 8


def test_a_full_disk_here_is_said(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.empty()
    point_at(monkeypatch, server.url)
    storage = S3Storage(f"s3://{BUCKET}/lake", tmp_path / "1")
    storage.create("t/x", b"0" * 300_000)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from platemill.errors import RetryableError\n"
        "from platemill.lake.s3 import S3Storage\n"
        "storage = S3Storage(sys.argv[1], Path(sys.argv[2]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    storage.locate('t/x')\n"
        "except RetryableError as error:\n"
        "    print(error.exit_code, error)\n"
        "print([str(p) for p in storage.root.rglob('*') if p.is_file()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, storage.url, str(tmp_path / "2")],
        capture_output=True,
        text=True,
        check=True,
    )
    said, left = done.stdout.splitlines()
    assert said.startswith("4 there is no room left for ")
    assert left == "[]"
