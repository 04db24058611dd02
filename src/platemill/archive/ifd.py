"""The directory structure that TIFF files and EXIF blocks share.

Source: TIFF 6.0, section 2; BigTIFF as libtiff documents it. Only what sizes and times need.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["Directory", "read_directory"]

_ITEM_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8, 18: 8}
_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
# Directories of real photos have some dozens of entries, and a value that is read here is short.
_MOST_ENTRIES: Final = 4096
_MOST_ITEMS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory: tag to (type, count, where its value starts)."""

    data: bytes
    order: str
    entries: dict[int, tuple[int, int, int]]

    @property
    def end(self) -> int:
        """Where the last value ends; beyond the data if the file is cut off."""
        return max(
            (at + count * _ITEM_BYTES.get(kind, 1) for kind, count, at in self.entries.values()),
            default=0,
        )

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; empty if it is not there, is no number or is cut off."""
        kind, count, start = self.entries.get(tag, (0, 0, 0))
        code = _CODES.get(kind)
        if code is None or not 0 < count <= _MOST_ITEMS:
            return ()
        try:
            return struct.unpack_from(f"{self.order}{count}{code}", self.data, start)
        except struct.error:
            return ()

    def text(self, tag: int) -> str:
        """The text of a tag, without its final NUL; empty if it is not there or is cut off."""
        kind, count, start = self.entries.get(tag, (0, 0, 0))
        if kind != 2 or not 0 < count <= 256 or start + count > len(self.data):
            return ""
        return self.data[start : start + count].split(b"\0")[0].decode("ascii", "replace").strip()


def read_directory(data: bytes, at: int | None = None) -> Directory | None:
    """Read a directory of a TIFF structure that begins at ``data[0]``.

    Args:
        data: the structure, from its ``II`` or ``MM`` on.
        at: where the directory starts; by default the first one.

    Returns:
        The directory, or None if there is none there, or it is cut off.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (version,) = struct.unpack_from(f"{order}H", data, 2)
        big = version == 43
        if version not in (42, 43):
            return None
        if at is None:
            (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
        if count > _MOST_ENTRIES:
            return None
        entry, size = (f"{order}HHQ", 20) if big else (f"{order}HHI", 12)
        inline = 8 if big else 4
        entries: dict[int, tuple[int, int, int]] = {}
        position = at + (8 if big else 2)
        for _ in range(count):
            tag, kind, items = struct.unpack_from(entry, data, position)
            start = position + size - inline
            if items * _ITEM_BYTES.get(kind, 1) > inline:
                (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, start)
            entries.setdefault(tag, (kind, items, start))
            position += size
    except (struct.error, OverflowError):
        return None
    return Directory(data, order, entries)
