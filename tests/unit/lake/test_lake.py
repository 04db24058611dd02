"""The lake's promises: a name is taken once, and nothing is read half-written."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platemill.errors import ConfigurationError, GenerationConflict, RetryableError
from platemill.lake import FileEntry, Generation, Lake, ShardRecord
from platemill.lake.files import write_parquet
from platemill.lake.storage import LocalStorage
from platemill.schema import INVENTORY

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
        schema_version="1",
        tables={"images": {DAY: entry}},
        history={"plate_day_v1": {DAY: (entry, entry)}},
        shards=("k1", "k2"),
    )


def record(attempt: str) -> ShardRecord:
    return ShardRecord("k1", DAY, "r1", attempt, "a", "b", {"recognised": 2, "no_plate": 1}, 5)


def inventory(*rows: tuple[str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "uri": uri,
                "image_id": f"{uri}-{size}",
                "camera_id": "c",
                "captured_at": NOW,
                "day": DAY,
                "byte_size": size,
                "modified_at": NOW,
                "time_source": "file",
            }
            for uri, size in rows
        ],
        schema=INVENTORY.arrow,
    )


def test_manifest_survives_json() -> None:
    assert Generation.from_json(manifest(7).to_json()) == manifest(7)


def test_shard_record_survives_json() -> None:
    assert ShardRecord.from_json(record("a1").to_json()) == record("a1")
    assert record("a1").images == 3


def test_greatest_number_is_current(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.current() is None
    for number in (1, 2, 10):
        lake.commit(manifest(number))
    current = lake.current()
    assert current is not None
    assert current.number == 10
    assert lake.numbers() == [1, 2, 10]


def test_a_commit_whose_answer_was_lost_is_repeated(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(manifest(1))
    assert lake.commit(manifest(1)) == manifest(1)
    assert lake.numbers() == [1]


def test_an_inventory_that_says_nothing_new_is_not_written(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.save_inventory(inventory(("a", 1), ("b", 1)))
    before = lake.storage.names("_inventory")
    lake.save_inventory(inventory(("b", 1)))
    assert lake.storage.names("_inventory") == before


def test_a_number_is_taken_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(manifest(1, "first"))
    with pytest.raises(GenerationConflict, match=r"generation 1 .* run second"):
        lake.commit(manifest(1, "second"))
    assert lake.generation(1).run_id == "first"


def test_unknown_and_broken_manifests_say_what_to_do(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(manifest(1))
    with pytest.raises(ConfigurationError, match=r"no generation 5 .* there are: 1"):
        lake.generation(5)
    (tmp_path / "_generations" / "00000002.json").write_text("{")
    with pytest.raises(ConfigurationError, match="remove it to go back to generation 1"):
        lake.current()


def test_of_many_attempts_one_wins(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
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
    lake = Lake(tmp_path)
    folder = lake.staging("k1")
    for name in ("won-images", "won-recognitions", "lost-images"):
        (folder / f"{name}.parquet").write_bytes(b"12345")
    paths = [lake.name_of(folder / f"won-{what}.parquet") for what in ("images", "recognitions")]
    lake.record_shard("k1", ShardRecord("k1", DAY, "r1", "won", paths[0], paths[1]))

    assert lake.sweep_shards([], keep=["k1"]) == 5
    assert sorted(path.name for path in folder.iterdir()) == [
        "won-images.parquet",
        "won-recognitions.parquet",
    ]
    assert lake.sweep_shards(["k1"]) == 10
    assert lake.shard("k1") is None
    assert not folder.exists()


def test_only_one_publishes_at_a_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with (
        lake.publish_lock(),
        pytest.raises(RetryableError, match=r"held .*_publish.lock for 0 s"),
        Lake(tmp_path).publish_lock(wait_seconds=0),
    ):
        pytest.fail("two publishers at once")
    with lake.publish_lock(wait_seconds=0):
        pass


def test_a_killed_publisher_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from platemill.lake import Lake\n"
        "with Lake(Path(sys.argv[1])).publish_lock():\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(RetryableError, match=f"pid {process.pid}"),
            Lake(tmp_path).publish_lock(wait_seconds=0.3),
        ):
            pytest.fail("two publishers at once")
        process.kill()
    with Lake(tmp_path).publish_lock(wait_seconds=5):
        pass


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
    dead = tmp_path / "_tmp" / f"{gone.pid}-abc"
    dead.write_bytes(b"123")
    assert storage.sweep_temporary() == 3
    assert mine.exists()
    assert not dead.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name inside the lake"):
        LocalStorage(tmp_path).locate(name)


def test_inventory_merges_by_uri(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.known_images().schema == INVENTORY.arrow
    lake.save_inventory(inventory(("b", 1), ("a", 1)))
    lake.save_inventory(inventory(("b", 2), ("c", 3)))
    rows = lake.known_images().select(["uri", "byte_size"]).to_pylist()
    assert rows == [
        {"uri": "a", "byte_size": 1},
        {"uri": "b", "byte_size": 2},
        {"uri": "c", "byte_size": 3},
    ]
    for size in range(5):
        lake.save_inventory(inventory(("a", 10 + size)))
    assert len(list((tmp_path / "_inventory").iterdir())) == 3
    assert lake.known_images().num_rows == 3


def test_empty_inventory_is_no_snapshot(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.save_inventory(inventory())
    assert lake.known_images().num_rows == 0


def test_done_images_of_one_pipeline(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    columns = ["uri", "image_id", "camera_id", "captured_at", "reason"]
    assert lake.done_images("p1").column_names == columns
    table = inventory(("a", 1), ("b", 2)).select(columns[:-1])
    table = table.append_column("reason", pa.array([None, "truncated"]))
    table = table.append_column("pipeline_version", pa.array(["p1", "p2"]))
    (tmp_path / "images").mkdir()
    pq.write_table(table, tmp_path / "images" / "x.parquet")
    entry = FileEntry("images/x.parquet", 2, 1)
    lake.commit(Generation(1, None, "r", NOW, "p1", "1", {"images": {DAY: entry}}))
    assert lake.done_images("p1")["uri"].to_pylist() == ["a"]
    assert lake.done_images("p3").num_rows == 0
