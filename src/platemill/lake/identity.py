"""Which images a day holds, as one hash: two days of one digest need not be compared by rows.

An image is what it was if its URI, content, camera and time are, and if it is as much in the
archive as before. The digest is BLAKE2b over those columns' bytes in the order of the URIs, so it
depends on no library's own hash function and on no order of arrival.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "IDENTITY",
    "PASSING",
    "DayDigest",
    "digest_of_images",
    "digest_of_inventory",
    "text_bytes",
]

IDENTITY: Final = ("uri", "image_id", "camera_id", "captured_at")
# Quarantined for what was so when they were read; if the inventory sees them, they may be well now.
PASSING: Final = ("unreadable", "vanished")
_HASH_BYTES: Final = 16
_STREAMS: Final = 8
_PASSING_MARK: Final = 1
_DELETED_MARK: Final = 2


class DayDigest:
    """The digest of a day's images, which are given in the order of their URIs."""

    def __init__(self) -> None:
        # Lengths and texts apart: else the digest would tell where batches end.
        self._hashes = [hashlib.blake2b(digest_size=_HASH_BYTES) for _ in range(_STREAMS)]
        self._rows = 0

    def add(self, rows: pa.Table | pa.RecordBatch, reason: str) -> None:
        """Take the next rows.

        Args:
            rows: ``uri, image_id, camera_id, captured_at, deleted_at`` and a reason.
            reason: the column that says why an image cannot be used.
        """
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        if not table.num_rows:
            return
        deleted = pc.is_valid(table["deleted_at"])
        passing = pc.is_in(table[reason], value_set=pa.array(PASSING))
        marks: Any = pc.if_else(deleted, _DELETED_MARK, pc.if_else(passing, _PASSING_MARK, 0))
        self._rows += table.num_rows
        parts: list[Any] = []
        for name in IDENTITY[:3]:
            lengths, text = text_bytes(table[name])
            parts += [lengths.tobytes(), text]
        times: Any = table["captured_at"].cast(pa.int64())
        parts += [times.to_numpy().astype("<i8").tobytes()]
        parts += [marks.to_numpy().astype(np.uint8).tobytes()]
        for digest, part in zip(self._hashes, parts, strict=True):
            digest.update(part)

    def hexdigest(self) -> str:
        """The digest of all rows so far, hex."""
        whole = hashlib.blake2b(self._rows.to_bytes(8, "little"), digest_size=_HASH_BYTES)
        for digest in self._hashes:
            whole.update(digest.digest())
        return whole.hexdigest()


def digest_of_inventory(rows: pa.Table) -> str:
    """The digest of inventory rows that lie in the order of their URIs."""
    digest = DayDigest()
    digest.add(rows, "rejected_reason")
    return digest.hexdigest()


def digest_of_images(rows: pa.Table) -> str:
    """The digest of rows of ``images``, of one pipeline version, in the order of their URIs."""
    digest = DayDigest()
    digest.add(rows, "reason")
    return digest.hexdigest()


def text_bytes(column: Any) -> tuple[Any, memoryview]:
    """The texts of a column without nulls.

    Returns:
        Their lengths in bytes as int32 [N], and their UTF-8 bytes one after the other.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.cast(pa.string())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    if not len(array) or data is None:
        return np.zeros(len(array), "<i4"), memoryview(b"")
    return np.diff(ends).astype("<i4"), memoryview(data)[int(ends[0]) : int(ends[-1])]
