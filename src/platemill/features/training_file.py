"""Writing a training set's file: in pieces, whole or not at all, the same bytes every time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.lake.files import open_writer
from platemill.lake.storage import clear_disk_errors
from platemill.warehouse.duck import text_literal

__all__ = ["BATCH_ROWS", "SUFFIXES", "beside", "write_rows"]

SUFFIXES = (".parquet", ".csv")
BATCH_ROWS = 16_384
"""Rows that are in memory at once, and rows of a Parquet file's row group."""


def beside(out: Path) -> Path:
    """Where a file grows until it is whole."""
    return out.with_name(f".{out.name}.part")


def write_rows(out: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows to a ``.parquet`` or ``.csv`` file, which appears under its name when it is whole.

    Returns:
        The file's bytes.

    Raises:
        ConfigurationError: the folder cannot be written, or another process writes the file.
        RetryableError: there is no room for it.
    """
    with _part(out) as part, clear_disk_errors(out):
        write = _write_csv if out.suffix == ".csv" else _write_parquet
        with contextlib.closing(_ahead(iter(batches))) as made:
            write(part, schema, made)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        size = part.stat().st_size
        part.replace(out)
        return size


def _ahead(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    """Make the next batch while this one is being written."""
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = other.submit(next, batches, None)
            yield batch


@contextlib.contextmanager
def _part(out: Path) -> Iterator[Path]:
    """The file that grows, for this process alone. One that a killed process left is used again."""
    path = beside(out)
    try:
        descriptor = _locked(path)
    except BlockingIOError:
        raise ConfigurationError(
            f"another process is writing {out}: wait for it, or name another file"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}") from error
    try:
        yield path
    finally:
        # Nobody else opens it while it is locked: what is still there is ours, and not whole.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may just have renamed it: then this is not a part any more.
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    # Sums and times seldom repeat.
    coded = [field.name for field in schema if pa.types.is_string(field.type)]
    coded += [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
    with open_writer(path, schema, coded=coded) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", reader)
        connection.execute(
            f"COPY (FROM rows) TO {text_literal(str(path))} "
            "(FORMAT csv, HEADER, USE_TMP_FILE false)"
        )
