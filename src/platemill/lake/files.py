"""Writing Parquet files that are named after what is in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.failpoints import failpoint
from platemill.lake.generation import FileEntry
from platemill.lake.storage import Storage, clear_disk_errors

__all__ = ["GROUP_ROWS", "open_writer", "write_parquet"]

GROUP_ROWS = 65_536
"""Rows of a row group."""

_CHUNK = 1 << 20


def write_parquet(
    storage: Storage,
    prefix: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    before: FileEntry | None = None,
) -> FileEntry | None:
    """Write rows as ``<prefix><hash of the bytes>.parquet``; None if there are no rows.

    The same rows in the same order give the same name, so that writing them again changes
    nothing. Memory holds one batch.

    Args:
        storage: the lake's files.
        prefix: what the name in the lake starts with, ``images/day=2026-05-01/`` say.
        schema: the file's schema; a null in a column that may not be null is refused.
        batches: columns in the schema's order, of types that cast to it without loss.
        before: a file that stays, and is returned, if the rows come out as they are in it.

    Raises:
        ValueError: a batch does not fit the schema.
        RetryableError: there is no room for the file.
    """
    temporary = storage.temporary(".parquet")
    try:
        with clear_disk_errors(storage.root):
            rows = _write(temporary, schema, batches)
            if not rows:
                return None
            name = f"{prefix}{_hash_and_sync(temporary)}.parquet"
        entry = FileEntry(name, rows, temporary.stat().st_size)
        if before is not None and entry.same_rows(before):
            return before
        failpoint("file.name.before")
        storage.adopt(temporary, name)
        failpoint("file.name.after")
        return entry
    finally:
        temporary.unlink(missing_ok=True)


def open_writer(
    path: Path, schema: pa.Schema, *, coded: bool | Sequence[str] = True
) -> pq.ParquetWriter:
    """A writer of Parquet files as the lake has them: each batch becomes a row group.

    Args:
        path: the file.
        schema: its schema.
        coded: the columns whose repeated values are written once; True: all.
    """
    # Statistics leave NaN out, and DuckDB believes them: a NaN would pass every comparison.
    told = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pq.ParquetWriter(
        path, schema, compression="zstd", write_statistics=told, use_dictionary=coded
    )


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a Parquet file; returns its rows."""
    rows = 0
    with open_writer(path, schema) as writer:
        for batch in batches:
            if batch.num_rows:
                rows += batch.num_rows
                writer.write_batch(batch.cast(schema))
    return rows


def _hash_and_sync(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()
