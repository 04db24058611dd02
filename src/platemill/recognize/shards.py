"""A shard's rows: staged as Parquet under a name of this attempt's own, then recorded once."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.lake import Lake, ShardRecord
from platemill.recognize.results import ImageResult
from platemill.schema import IMAGES, RECOGNITIONS, ImageStatus, Table

__all__ = ["write_shard"]

_BUFFERED_ROWS: Final = 4096


def write_shard(lake: Lake, shard_key: str, results: Iterable[ImageResult]) -> ShardRecord:
    """Write a shard's rows as they come and record the shard at their end.

    Nothing is recorded before the last row is safe on the disk: a worker that dies before leaves
    files that nobody refers to, and the shard is done again. An attempt that is overtaken removes
    its own files.

    Args:
        lake: where to.
        shard_key: the shard's key.
        results: at least one, all of one day and one run.

    Returns:
        The record that holds: this attempt's, or that of the attempt that was faster.

    Raises:
        ValueError: there is no result, or they are of several days.
    """
    attempt = uuid.uuid4().hex
    folder = lake.staging(shard_key)
    images_path = folder / f"{attempt}-{IMAGES.name}.parquet"
    recognitions_path = folder / f"{attempt}-{RECOGNITIONS.name}.parquet"
    counts = Counter({status.value: 0 for status in ImageStatus})
    plates = 0
    days: set[date] = set()
    runs: set[str] = set()
    won = False
    try:
        with ExitStack() as files:
            images = files.enter_context(_Staged(images_path, IMAGES))
            recognitions = files.enter_context(_Staged(recognitions_path, RECOGNITIONS))
            for result in results:
                rows = result.recognition_rows()
                images.add([result.image_row()])
                recognitions.add(rows)
                counts[result.status.value] += 1
                plates += len(rows)
                days.add(result.image.day)
                runs.add(result.run_id)
        if len(days) != 1 or len(runs) != 1:
            raise ValueError(f"shard {shard_key} has results of days {days} and runs {runs}")
        _sync(folder)
        record = ShardRecord(
            key=shard_key,
            day=days.pop(),
            run_id=runs.pop(),
            attempt=attempt,
            images_path=lake.name_of(images_path),
            recognitions_path=lake.name_of(recognitions_path),
            counts=dict(counts),
            plates=plates,
        )
        won = lake.record_shard(shard_key, record)
        winner = record if won else lake.shard(shard_key)
    finally:
        if not won:
            images_path.unlink(missing_ok=True)
            recognitions_path.unlink(missing_ok=True)
    if winner is None:
        # Recorded, published and swept, all by others: its rows are in the facts.
        return record
    return winner


class _Staged:
    """A Parquet file that is written row by row and is on the disk when it is left."""

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._schema = table.arrow
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, object]] = []

    def __enter__(self) -> Self:
        return self

    def add(self, rows: list[dict[str, object]]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= _BUFFERED_ROWS:
            self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._writer:
            if kind is None:
                self._flush()
        if kind is None:
            _sync(self._path)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
