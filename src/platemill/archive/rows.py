"""The rows of a walk over archives, gathered in columns so that a million stay small."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from platemill.archive.uris import readable
from platemill.errors import ImageRejected

__all__ = ["SCAN_SCHEMA", "Rows"]

_FIELDS: Final[list[Any]] = [
    # From the archive's name on, with "/" between segments: what layout and index look at.
    pa.field("path", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("byte_size", pa.int64(), nullable=False),
    pa.field("modified_at", pa.int64(), nullable=False),  # microseconds since 1970, UTC
    pa.field("offset", pa.int64()),
    pa.field("archive_stamp", pa.string()),
    pa.field("rejected_reason", pa.string()),
    pa.field("rejected_detail", pa.string()),
]
SCAN_SCHEMA: Final = pa.schema(_FIELDS)
_CHUNK: Final = 65_536


class Rows:
    """Gathers rows of ``SCAN_SCHEMA``. ``seen`` is their number so far.

    Args:
        max_image_bytes: a larger image is rejected here, before it is opened.
    """

    def __init__(self, max_image_bytes: int) -> None:
        self.seen = 0
        self._max_image_bytes = max_image_bytes
        self._rows: list[tuple[object, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def image(
        self,
        path: str,
        uri: str,
        byte_size: int,
        modified_at: int,
        offset: int | None = None,
        stamp: str | None = None,
    ) -> None:
        """Add an image that may be usable; an empty or too large one is rejected."""
        if byte_size == 0:
            error = ImageRejected("zero_bytes", "the file is empty")
            self.reject(path, uri, error, byte_size, modified_at, stamp)
        elif byte_size > self._max_image_bytes:
            detail = f"{byte_size:,} bytes; at most {self._max_image_bytes:,} are read"
            error = ImageRejected("too_large", detail)
            self.reject(path, uri, error, byte_size, modified_at, stamp)
        else:
            self._add(path, uri, byte_size, modified_at, offset, stamp, None, None)

    def reject(
        self,
        path: str,
        uri: str,
        error: ImageRejected,
        byte_size: int = 0,
        modified_at: int = 0,
        stamp: str | None = None,
    ) -> None:
        """Add an image, or a folder or archive whose images are not known, that cannot be used."""
        detail = readable(error.detail)
        self._add(path, uri, byte_size, modified_at, None, stamp, error.reason, detail)

    def table(self) -> pa.Table:
        """All rows so far."""
        self._flush()
        return pa.Table.from_batches(self._batches, SCAN_SCHEMA)

    def _add(self, *row: object) -> None:
        self._rows.append(row)
        self.seen += 1
        if len(self._rows) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*self._rows, strict=True), SCAN_SCHEMA, strict=True)
            ]
            self._batches.append(pa.RecordBatch.from_arrays(columns, schema=SCAN_SCHEMA))
            self._rows.clear()
