"""The lake's promises: a name is taken once, and nothing is read half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from platemill.errors import ConfigurationError, GenerationConflict
from platemill.lake import FileEntry, Generation, Lake, ShardRecord
from platemill.lake.files import write_parquet
from platemill.lake.storage import LocalStorage
from platemill.schema import SCHEMA_VERSION

NOW = datetime(2026, 5, 2, 3, tzinfo=UTC)
DAY = date(2026, 5, 1)


def manifest(number: int, run_id: str = "r1") -> Generation:
    entry = FileEntry("images/day=2026-05-01/a.parquet", 3, 400)
    return Generation(
        number=number,
        parent=number - 1 or None,
        run_id=run_id,
        created_at=NOW,
        pipeline_version="p1",
        schema_version=SCHEMA_VERSION,
        tables={"images": {DAY: entry}},
        history={"plate_day_v1": {DAY: (entry, entry)}},
        shards=("k1", "k2"),
    )


def record(attempt: str) -> ShardRecord:
    return ShardRecord("k1", DAY, "r1", attempt, "a", "b", {"recognised": 2, "no_plate": 1}, 5)


def test_manifest_survives_json() -> None:
    assert Generation.from_json(manifest(7).to_json()) == manifest(7)


def test_shard_record_survives_json() -> None:
    assert ShardRecord.from_json(record("a1").to_json()) == record("a1")
    assert record("a1").images == 3


def test_greatest_number_is_current(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    assert lake.current() is None
    for number in (1, 2, 10):
        lake.commit(manifest(number))
    current = lake.current()
    assert current is not None
    assert current.number == 10
    assert lake.numbers() == [1, 2, 10]


def test_a_commit_whose_answer_was_lost_is_repeated(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    lake.commit(manifest(1))
    assert lake.commit(manifest(1)) == manifest(1)
    assert lake.numbers() == [1]


def test_a_number_is_taken_once(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    lake.commit(manifest(1, "first"))
    with pytest.raises(GenerationConflict, match=r"generation 1 .* run second"):
        lake.commit(manifest(1, "second"))
    assert lake.generation(1).run_id == "first"


def test_unknown_and_broken_manifests_say_what_to_do(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    lake.commit(manifest(1))
    with pytest.raises(ConfigurationError, match=r"no generation 5 .* there are: 1"):
        lake.generation(5)
    (tmp_path / "_generations" / "00000002.json").write_text("{")
    with pytest.raises(ConfigurationError, match="remove it to go back to generation 1"):
        lake.current()


def test_a_generation_of_another_schema_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    lake.commit(replace(manifest(1), schema_version="1"))
    with pytest.raises(ConfigurationError, match=r"schema 1, .* another home"):
        lake.current()


def test_of_many_attempts_one_wins(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    won: list[str] = []

    def attempt(name: str) -> None:
        barrier.wait()
        if lake.record_shard("k1", record(name)):
            won.append(name)

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=attempt, args=(f"a{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = lake.shard("k1")
    assert stored is not None
    assert won == [stored.attempt]
    assert lake.shard("k2") is None


def test_sweep_keeps_the_winner_until_nobody_plans_it(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    paths = []
    for attempt, table in (("won", "images"), ("won", "recognitions"), ("lost", "images")):
        temporary = lake.storage.temporary()
        temporary.write_bytes(b"12345")
        paths.append(lake.stage("k1", attempt, table, temporary))
    lake.record_shard("k1", ShardRecord("k1", DAY, "r1", "won", paths[0], paths[1]))

    assert lake.sweep_shards([], keep=["k1"]) == 5
    assert lake.staged("k1") == paths[:2]
    assert lake.sweep_shards(["k1"]) == 10
    assert lake.shard("k1") is None
    assert not (tmp_path / "_staging").exists()


def test_same_rows_same_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    batches = [pa.record_batch({"a": pa.array([1, 2], pa.int64())})]
    first = write_parquet(storage, "t/day=1/", schema, batches)
    assert first is not None
    inode = storage.locate(first.path).stat().st_ino
    assert write_parquet(storage, "t/day=1/", schema, batches) == first
    assert storage.locate(first.path).stat().st_ino == inode
    assert first.rows == 2
    assert first.bytes == storage.locate(first.path).stat().st_size
    other = write_parquet(storage, "t/day=1/", schema, [*batches, *batches])
    assert other is not None
    assert other.path != first.path
    assert write_parquet(storage, "t/day=1/", schema, []) is None
    assert not list((tmp_path / "_tmp").iterdir())


def test_a_null_where_none_may_be_is_refused(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    batch = pa.record_batch({"a": pa.array([1, None], pa.int64())})
    with pytest.raises(ValueError, match="null"):
        write_parquet(LocalStorage(tmp_path), "t/", schema, [batch])
    assert not list(tmp_path.rglob("*.parquet"))


def test_sweep_leaves_what_a_live_process_writes(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    mine = storage.temporary()
    mine.write_bytes(b"x")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    dead = mine.with_name(mine.name.replace(f"{os.getpid()}~", f"{gone.pid}~"))
    dead.write_bytes(b"123")
    spilt = dead.with_name(f"{dead.name}-spill")
    spilt.mkdir()
    (spilt / "rows").write_bytes(b"45")
    elsewhere = mine.with_name(f"{gone.pid}~another-machine~abc")
    elsewhere.write_bytes(b"6789")
    old = mine.with_name(f"{gone.pid}~another-machine~old")
    old.write_bytes(b"6789")
    os.utime(old, (0, 0))
    assert storage.sweep_temporary() == 3 + 2 + 4
    assert sorted(path.name for path in mine.parent.iterdir()) == sorted(
        [mine.name, elsewhere.name]
    )


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name inside the lake"):
        LocalStorage(tmp_path).locate(name)
