"""Another Parquet file out of one that is there: only the row groups that change are written.

What a late image costs must not depend on how many keys a month has. So the row groups that hold
none of the changed keys are copied as bytes, and the footer is written anew.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.failpoints import failpoint
from platemill.lake.files import GROUP_ROWS, open_writer
from platemill.lake.footer import MAGIC, RowGroup, Struct, read_footer
from platemill.lake.generation import FileEntry
from platemill.lake.storage import Storage, clear_disk_errors

__all__ = ["Run", "splice_parquet"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Run:
    """Row groups of a file, one after another, that hold changed keys.

    Attributes:
        first, last: their numbers, the last one included.
        low: keys from this one on belong here; None: all from the beginning.
        high: keys below this one belong here; None: all to the end.
        rows: their rows.
    """

    first: int
    last: int
    low: str | None
    high: str | None
    rows: int


Rewrite = Callable[[Run, Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def splice_parquet(
    storage: Storage,
    prefix: str,
    schema: pa.Schema,
    before: FileEntry,
    keys: Sequence[str],
    rewrite: Rewrite,
) -> FileEntry | None:
    """Write a file that differs from another one in some keys; None if no row is left.

    Args:
        storage: the lake's files.
        prefix: what the new name starts with, as for ``write_parquet``.
        schema: the schema of both files; the first column is a text and the rows are in its order.
        before: the file that there is.
        keys: values of the first column whose rows change, sorted; at least one.
        rewrite: given a run and its rows, answers with the rows that are to be there instead, in
            order. It is asked for one run after another and may be read lazily.

    Returns:
        The new file; ``before`` itself if it comes out as the same bytes.

    Raises:
        RetryableError: there is no room for the file.
    """
    source = storage.locate(before.path)
    written, spliced = storage.temporary(".parquet"), storage.temporary(".parquet")
    try:
        with clear_disk_errors(storage.root):
            with pq.ParquetFile(source) as old:
                runs = _runs(old.metadata, keys)
                counts = _rewrite(old, schema, runs, rewrite, written)
            rows, digest = _assemble(source, written, runs, counts, spliced)
        if not rows:
            return None
        entry = FileEntry(f"{prefix}{digest}.parquet", rows, spliced.stat().st_size)
        if entry.same_rows(before):
            return before
        failpoint("file.name.before")
        storage.adopt(spliced, entry.path)
        failpoint("file.name.after")
        return entry
    finally:
        written.unlink(missing_ok=True)
        spliced.unlink(missing_ok=True)


def _runs(metadata: pq.FileMetaData, keys: Sequence[str]) -> list[Run]:
    """The runs of row groups that hold keys, or that they belong into."""
    count = metadata.num_row_groups
    statistics = [metadata.row_group(n).column(0).statistics for n in range(count)]
    if not all(said is not None and said.has_min_max for said in statistics):
        return [Run(0, count - 1, None, None, metadata.num_rows)]
    ranges = [(said.min, said.max) for said in statistics]
    lows = [low for low, _ in ranges]
    touched: set[int] = set()
    for key in keys:
        # The last group that begins at or below the key; one key may go on over several.
        at = max(0, bisect.bisect_right(lows, key) - 1)
        touched.add(at)
        while at > 0 and ranges[at - 1][1] >= key:
            at -= 1
            touched.add(at)
    numbers = sorted(touched)
    found = []
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        first, last = run[0], run[-1]
        found.append(
            Run(
                first,
                last,
                lows[first] if first else None,
                lows[last + 1] if last + 1 < len(lows) else None,
                sum(metadata.row_group(n).num_rows for n in run),
            )
        )
    return found


def _rewrite(
    old: pq.ParquetFile, schema: pa.Schema, runs: Sequence[Run], rewrite: Rewrite, path: Path
) -> list[int]:
    """Write the runs' new rows one after another; returns the row groups of each."""
    counts = []
    with open_writer(path, schema) as writer:
        for run in runs:
            groups = list(range(run.first, run.last + 1))
            count = 0
            for batch in rewrite(run, old.iter_batches(GROUP_ROWS, row_groups=groups)):
                if batch.num_rows:
                    writer.write_batch(batch.cast(schema))
                    count += 1
            counts.append(count)
    return counts


def _assemble(
    source: Path, written: Path, runs: Sequence[Run], counts: Sequence[int], path: Path
) -> tuple[int, str]:
    """Put old and new row groups into one file; returns its rows and the hash of its bytes."""
    digest = hashlib.blake2b(digest_size=16)
    said: list[Struct] = []
    rows = at = 0
    with source.open("rb") as old, written.open("rb") as new, path.open("wb") as out:

        def put(data: bytes) -> None:
            nonlocal at
            out.write(data)
            digest.update(data)
            at += len(data)

        def copy(file: BinaryIO, group: RowGroup) -> None:
            nonlocal rows
            said.append(group.moved(at, len(said)))
            rows += group.rows
            file.seek(group.start)
            left = group.size
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise ValueError(f"{source} is shorter than its footer says")
                left -= len(data)
                put(data)

        put(MAGIC)
        footer = read_footer(new)
        fresh = iter(footer.row_groups())
        standing = read_footer(old).row_groups()
        place = 0
        for run, count in zip(runs, counts, strict=True):
            for group in standing[place : run.first]:
                copy(old, group)
            for group in itertools.islice(fresh, count):
                copy(new, group)
            place = run.last + 1
        for group in standing[place:]:
            copy(old, group)
        put(footer.with_row_groups(said))
        out.flush()
        os.fsync(out.fileno())
    return rows, digest.hexdigest()
