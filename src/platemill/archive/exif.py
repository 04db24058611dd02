"""The time that a camera wrote into a photo (EXIF 2.32: DateTimeOriginal and its offset)."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from platemill.archive.ifd import read_directory
from platemill.archive.times import from_datetime

__all__ = ["exif_block", "exif_time"]

_EXIF_DIRECTORY: Final = 0x8769
_DATE_TIME_ORIGINAL: Final = 0x9003
_OFFSET_TIME_ORIGINAL: Final = 0x9011
_SUBSECONDS_ORIGINAL: Final = 0x9291
_TIME: Final = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)


def exif_time(head: bytes) -> int | None:
    """When the photo was taken, in microseconds since 1970 in UTC.

    Args:
        head: the file's first bytes (JPEG, PNG, WebP or TIFF). A block that lies beyond them, as
            a TIFF's may, is not found.

    Returns:
        The time; UTC where the photo gives no offset. None if there is none, or it is no time
        between 1970 and 2099 (cameras without a clock write zeros).
    """
    block = exif_block(head)
    if block is None:
        return None
    first = read_directory(block)
    pointer = first.numbers(_EXIF_DIRECTORY) if first is not None else ()
    directory = read_directory(block, pointer[0]) if pointer else None
    if directory is None:
        return None
    found = _TIME.match(directory.text(_DATE_TIME_ORIGINAL))
    if found is None:
        return None
    zone: timezone = UTC
    offset = _OFFSET.match(directory.text(_OFFSET_TIME_ORIGINAL))
    try:
        if offset is not None:
            size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
            zone = timezone(-size if offset[1] == "-" else size)
        year, month, day, hour, minute, second = map(int, found.groups())
        digits = directory.text(_SUBSECONDS_ORIGINAL)
        microsecond = int(digits[:6].ljust(6, "0")) if digits.isascii() and digits.isdigit() else 0
        moment = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=zone)
        return from_datetime(moment)
    except (ValueError, OverflowError):
        return None


def exif_block(head: bytes) -> bytes | None:
    """The EXIF block of an image's first bytes, from its ``II`` or ``MM`` on; None without one."""
    if head[:2] == b"\xff\xd8":
        return _from_jpeg(head)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _from_chunks(head, 8, b"eXIf", ">", size_first=True)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _from_chunks(head, 12, b"EXIF", "<", size_first=False)
    if head[:2] in (b"II", b"MM"):
        return head
    return None


def _from_jpeg(head: bytes) -> bytes | None:
    position = 2
    while position + 4 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0xD9, 0xDA):
            return None
        (length,) = struct.unpack_from(">H", head, position + 2)
        body = head[position + 4 : position + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\0\0":
            return body[6:]
        position += 2 + length
    return None


def _from_chunks(
    head: bytes, position: int, wanted: bytes, order: str, *, size_first: bool
) -> bytes | None:
    while position + 8 <= len(head):
        name = head[position + 4 : position + 8] if size_first else head[position : position + 4]
        (length,) = struct.unpack_from(f"{order}I", head, position if size_first else position + 4)
        if name == wanted:
            body = head[position + 8 : position + 8 + length]
            # Some writers of WebP keep JPEG's prefix.
            return body[6:] if body[:6] == b"Exif\0\0" else body
        # PNG: a checksum follows; RIFF: a padding byte after an odd length.
        position += 8 + length + (4 if size_first else length & 1)
    return None
