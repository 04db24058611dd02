"""Rows in a file, taken by their place: a random access that leaves memory to the kernel.

The file is Arrow's own format, mapped: its pages are read when a row in them is asked for, and the
kernel takes them back when memory is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["CHUNK_ROWS", "RowFile", "place_array", "whole_numbers", "write_row_file"]

CHUNK_ROWS = 131_072
"""Rows of a chunk that is written at once. Rows of one chunk are the cheapest to take."""


def write_row_file(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[int]:
    """Write rows, and say after each batch how many it had; their places are counted from 0."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            yield batch.num_rows


class RowFile:
    """The rows of a file that ``write_row_file`` wrote. To be closed.

    Args:
        path: the file; it may be removed while it is open.
    """

    def __init__(self, path: Path) -> None:
        self._map = pa.memory_map(str(path))
        self._reader = pa.ipc.open_file(self._map)
        counts = [
            self._reader.get_batch(i).num_rows for i in range(self._reader.num_record_batches)
        ]
        self._starts = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def take(self, places: npt.NDArray[np.int64]) -> list[pa.Array]:
        """The columns of the rows at some places; below 0 is a row of nulls."""
        if self._reader.num_record_batches == 1:
            found = _take(self._reader.get_batch(0), place_array(places))
            return list(found.columns)
        order = np.argsort(places, kind="stable")
        sorted_places = places[order]
        bounds = np.searchsorted(sorted_places, self._starts)
        parts = [_nulls(self._reader.schema, int(bounds[0]))]
        for number, start in enumerate(self._starts[:-1]):
            chosen = sorted_places[bounds[number] : bounds[number + 1]]
            if len(chosen):
                parts.append(_take(self._reader.get_batch(number), place_array(chosen - start)))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        taken = _take(pa.Table.from_batches(parts).combine_chunks(), place_array(back))
        return [_whole(column) for column in taken.columns]


def place_array(places: npt.NDArray[np.int64]) -> pa.Array:
    """Places as Arrow's; below 0 is a null. ``pa.array`` would import pandas, 0.2 s."""
    there = places >= 0
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(
        pa.int64(), len(places), [valid, pa.py_buffer(np.ascontiguousarray(places))]
    )


def whole_numbers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A column without nulls, as numpy's. ``to_numpy`` would import pandas, 0.2 s."""
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks]
    numbers: npt.NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *chunks])
    return numbers


def _take(rows: Any, places: pa.Array) -> Any:
    # Arrow's own pool spends as long on fresh memory as on the rows.
    return pc.take(rows, places, memory_pool=pa.system_memory_pool())


def _nulls(schema: pa.Schema, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.nulls(rows, field.type) for field in schema], schema=schema
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
