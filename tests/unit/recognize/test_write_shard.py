from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from platemill.errors import RetryableError
from platemill.lake import Lake, ShardRecord
from platemill.lake.storage import LocalStorage
from platemill.recognize import shards
from platemill.recognize.plan import PlannedImage
from platemill.recognize.results import ImageResult, Plate
from platemill.recognize.shards import write_shard
from platemill.schema import IMAGES, RECOGNITIONS, ImageStatus, Stage

NOW = datetime(2026, 3, 2, 3, tzinfo=UTC)
DAY = date(2026, 3, 2)


def result(n: int, plates: int = 1, reason: str | None = None) -> ImageResult:
    image = PlannedImage(f"file:///{n}", "0" * 32, "c", NOW, DAY, 5, NOW, "layout")
    status = (
        ImageStatus.QUARANTINED
        if reason
        else (ImageStatus.RECOGNISED if plates else ImageStatus.NO_PLATE)
    )
    seen = tuple(Plate("A000AA77", "A000AA77", 0.5, 0.9, 1, 2, 3, 4) for _ in range(plates))
    size = (None, None) if reason else (4, 3)
    stage = Stage.DECODE if reason else None
    return ImageResult(image, status, reason, reason, stage, 1, *size, seen, "p1", "r1", NOW)


RESULTS = [result(0, 2), result(1, 0), result(2, 0, "truncated"), result(3, 1)]


def staged(lake: Lake) -> list[str]:
    assert not list((lake.root / "_tmp").iterdir())
    return [Path(name).name for name in lake.staged("k1")]


def test_rows_are_staged_and_recorded(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    record = write_shard(lake, "k1", iter(RESULTS))
    assert lake.shard("k1") == record
    assert (record.key, record.day, record.run_id, record.plates) == ("k1", DAY, "r1", 3)
    assert record.counts == {"recognised": 2, "no_plate": 1, "quarantined": 1}
    images = pq.read_table(tmp_path / record.images_path)
    recognitions = pq.read_table(tmp_path / record.recognitions_path)
    assert images.schema.equals(IMAGES.arrow)
    assert recognitions.schema.equals(RECOGNITIONS.arrow)
    assert images.to_pylist() == [r.image_row() for r in RESULTS]
    rows = [row for r in RESULTS for row in r.recognition_rows()]
    assert recognitions.drop_columns(["confidence", "detection_score"]).to_pylist() == [
        {k: v for k, v in row.items() if k not in ("confidence", "detection_score")} for row in rows
    ]
    assert len(staged(lake)) == 2
    assert all(name.startswith(record.attempt) for name in staged(lake))


def test_many_rows_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_BUFFERED_ROWS", 10)
    lake = Lake(LocalStorage(tmp_path))
    record = write_shard(lake, "k1", (result(n, n % 3) for n in range(95)))
    images = pq.ParquetFile(tmp_path / record.images_path)
    assert images.num_row_groups == 10
    assert images.read()["uri"].to_pylist() == [f"file:///{n}" for n in range(95)]
    assert pq.read_metadata(tmp_path / record.recognitions_path).num_rows == record.plates == 94


def test_no_plates_at_all(tmp_path: Path) -> None:
    record = write_shard(Lake(LocalStorage(tmp_path)), "k1", [result(0, 0)])
    assert pq.read_table(tmp_path / record.recognitions_path).num_rows == 0


def test_a_worker_that_fails_midway_records_nothing(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))

    def results() -> Iterator[ImageResult]:
        yield from RESULTS
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        write_shard(lake, "k1", results())
    assert lake.shard("k1") is None
    assert staged(lake) == []
    assert write_shard(lake, "k1", RESULTS).images == 4


def test_a_slower_attempt_loses_and_cleans_up(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    winner: list[ShardRecord] = []

    def results() -> Iterator[ImageResult]:
        yield from RESULTS
        winner.append(write_shard(lake, "k1", RESULTS))

    record = write_shard(lake, "k1", results())
    assert [record] == winner
    assert lake.shard("k1") == record
    assert all(name.startswith(record.attempt) for name in staged(lake))
    assert len(staged(lake)) == 2


def test_an_attempt_whose_record_may_stand_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(LocalStorage(tmp_path))
    record = lake.record_shard

    def lost(key: str, said: ShardRecord) -> bool:
        record(key, said)
        raise RetryableError("no answer")

    monkeypatch.setattr(lake, "record_shard", lost)
    with pytest.raises(RetryableError, match="no answer"):
        write_shard(lake, "k1", RESULTS)
    stands = lake.shard("k1")
    assert stands is not None
    assert pq.read_table(tmp_path / stands.images_path).num_rows == 4
    assert len(staged(lake)) == 2


def test_a_shard_is_of_one_day_and_not_empty(tmp_path: Path) -> None:
    lake = Lake(LocalStorage(tmp_path))
    other = replace(RESULTS[0], image=replace(RESULTS[0].image, day=date(2026, 3, 3)))
    for wrong in ([], [RESULTS[0], other], [RESULTS[0], replace(RESULTS[1], run_id="r2")]):
        with pytest.raises(ValueError, match="shard k1"):
            write_shard(lake, "k1", wrong)
    assert staged(lake) == []
    assert lake.shard("k1") is None
