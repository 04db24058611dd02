"""A shard's rows: staged as Parquet under a name of this attempt's own, then recorded once."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.errors import RetryableError
from platemill.failpoints import failpoint
from platemill.lake import Lake, ShardRecord
from platemill.lake.storage import clear_disk_errors
from platemill.recognize.results import ImageResult
from platemill.schema import FACTS, IMAGES, RECOGNITIONS, ImageStatus, Table

__all__ = ["write_shard"]

_BUFFERED_ROWS: Final = 4096


def write_shard(
    lake: Lake,
    shard_key: str,
    results: Iterable[ImageResult],
    check: Callable[[], object] | None = None,
) -> ShardRecord:
    """Write a shard's rows as they come and record the shard at their end.

    Nothing is recorded before the last row is safe on the disk: a worker that dies before leaves
    files that nobody refers to, and the shard is done again. An attempt that is overtaken removes
    its own files.

    Args:
        lake: where to.
        shard_key: the shard's key.
        results: at least one, all of one day and one run.
        check: called right before the shard is recorded; raises ``LeaseLost`` if another run took
            the day over.

    Returns:
        The record that holds: this attempt's, or that of the attempt that was faster.

    Raises:
        ValueError: there is no result, or they are of several days.
        LeaseLost: another run took the day over; nothing was recorded.
    """
    attempt = uuid.uuid4().hex
    written = {table.name: lake.storage.temporary(".parquet") for table in FACTS}
    staged: dict[str, str] = {}
    counts = Counter({status.value: 0 for status in ImageStatus})
    plates = 0
    days: set[date] = set()
    runs: set[str] = set()
    needed = False
    try:
        failpoint("shard.rows.before")
        with clear_disk_errors(lake.root), ExitStack() as files:
            images = files.enter_context(_Staged(written[IMAGES.name], IMAGES))
            recognitions = files.enter_context(_Staged(written[RECOGNITIONS.name], RECOGNITIONS))
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
        for name, path in written.items():
            staged[name] = lake.stage(shard_key, attempt, name, path)
        failpoint("shard.rows.after")
        record = ShardRecord(
            key=shard_key,
            day=days.pop(),
            run_id=runs.pop(),
            attempt=attempt,
            images_path=staged[IMAGES.name],
            recognitions_path=staged[RECOGNITIONS.name],
            counts=dict(counts),
            plates=plates,
        )
        if check is not None:
            check()
        failpoint("shard.record.before")
        # Should the answer be lost, the record may stand and speak of these rows.
        needed = True
        won = needed = lake.record_shard(shard_key, record)
        failpoint("shard.record.after")
        winner = record if won else lake.shard(shard_key)
    finally:
        for path in written.values():
            path.unlink(missing_ok=True)
        if not needed:
            # What cannot be removed now is swept with the shard.
            with suppress(RetryableError):
                for name in staged.values():
                    lake.storage.remove(name)
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
