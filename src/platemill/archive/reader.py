"""The bytes of images in folders, tars and zips, by where they start: nothing is ever unpacked.

A tar's member is one range of its file. A zip's member is read from its local header on, so the
directory of a large zip is not needed again: the stream says itself where it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from platemill.archive.uris import Location, parse_uri, readable
from platemill.errors import ImageRejected, RetryableError

__all__ = ["BLOCK_BYTES", "ZIP_METHODS", "ArchiveReader", "OpenFile", "rejection"]

BLOCK_BYTES: Final = 1 << 20
_STORED: Final = 0
_DEFLATED: Final = 8
ZIP_METHODS: Final = frozenset({_STORED, _DEFLATED})
_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
# The machine is short of something: the image is not to blame.
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def rejection(path: str, error: OSError) -> ImageRejected:
    """The reason that an ``OSError`` on a file gives: ``vanished`` or ``unreadable``.

    Raises:
        RetryableError: the machine is out of memory or file handles.
    """
    name = readable(path)
    if error.errno in _SHORTAGES:
        raise RetryableError(f"{name} could not be opened: {error.strerror}") from error
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return ImageRejected("unreadable", f"{name} is a link to a file that is not there")
        return ImageRejected("vanished", f"{name} is not there any more")
    return ImageRejected("unreadable", f"{name}: {error.strerror or error}")


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a file for reading, never waiting for one that is a pipe or a device.

    Raises:
        ImageRejected: ``vanished`` or ``unreadable``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise rejection(path, error) from None
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        what = file_kind(facts.st_mode)
        raise ImageRejected("unreadable", f"{readable(path)} is not a file but {what}")
    return handle, facts


def file_kind(mode: int) -> str:
    """What a thing in a folder is, in words."""
    for test, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "something else"


@dataclass(slots=True)
class OpenFile:
    """An image's file, or the archive file that holds it, open for reading."""

    location: Location
    handle: int
    facts: os.stat_result
    users: int = 0

    def blocks(self, location: Location, offset: int | None, byte_size: int) -> Iterator[bytes]:
        """An image's bytes in blocks of at most ``BLOCK_BYTES``.

        At most one byte more than ``byte_size`` is given, by which a longer image is known.

        Raises:
            ImageRejected: ``unreadable``.
        """
        try:
            if location.kind == "zip":
                yield from self._zip_blocks(offset or 0, byte_size)
            elif location.kind == "tar":
                yield from self._range(offset or 0, byte_size)
            else:
                yield from self._range(0, byte_size + 1)
        except OSError as error:
            raise rejection(location.path, error) from None

    def _range(self, start: int, length: int) -> Iterator[bytes]:
        end = start + length
        while start < end:
            block = os.pread(self.handle, min(BLOCK_BYTES, end - start), start)
            if not block:
                return
            yield block
            start += len(block)

    def _zip_blocks(self, offset: int, byte_size: int) -> Iterator[bytes]:
        head = os.pread(self.handle, _LOCAL_HEADER.size, offset)
        if len(head) < _LOCAL_HEADER.size or head[:4] != b"PK\x03\x04":
            raise ImageRejected("unreadable", f"no zip member starts at byte {offset}")
        _, _, _, method, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head)
        start = offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if method == _STORED:
            yield from self._range(start, byte_size)
            return
        if method not in ZIP_METHODS:
            raise ImageRejected("unreadable", f"compressed in the zip by method {method}")
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        left = byte_size + 1
        source = self._range(start, self.facts.st_size - start)
        try:
            while left > 0 and not stream.eof:
                packed = stream.unconsumed_tail or next(source, b"")
                block = stream.decompress(packed, min(left, BLOCK_BYTES))
                left -= len(block)
                if block:
                    yield block
                elif not packed:
                    return
        except zlib.error as error:
            raise ImageRejected("unreadable", f"damaged in the zip: {error}") from None


class ArchiveReader:
    """Reads images by URI. Safe to use from many threads; holds few files open.

    Args:
        max_image_bytes: a larger image is rejected before it is read; None: as large as it is.
        max_open: most archive files that are kept open between reads.
    """

    def __init__(self, max_image_bytes: int | None = None, *, max_open: int = 16) -> None:
        self._max_image_bytes = max_image_bytes
        self._max_open = max_open
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is kept open. Reads that are under way must have ended."""
        with self._lock:
            for kept in self._open.values():
                os.close(kept.handle)
            self._open.clear()

    def read(self, uri: str, offset: int | None, byte_size: int) -> bytes:
        """An image's encoded bytes.

        Args:
            uri: where it lies, as the inventory says.
            offset: where a tar's or zip's member starts, as the inventory says; else None.
            byte_size: how many bytes it has.

        Raises:
            ImageRejected: ``vanished``, ``unreadable``, ``too_large``, or ``changed``: it has
                another size now.
            RetryableError: the machine is out of memory or file handles.
        """
        if self._max_image_bytes is not None and byte_size > self._max_image_bytes:
            raise ImageRejected(
                "too_large", f"{byte_size:,} bytes; at most {self._max_image_bytes:,} are read"
            )
        location = parse_uri(uri)
        with self.opened(location) as file:
            data = b"".join(file.blocks(location, offset, byte_size))
        if len(data) != byte_size:
            raise ImageRejected(
                "changed", f"it has not the {byte_size:,} bytes of the inventory any more"
            )
        return data

    @contextlib.contextmanager
    def opened(self, location: Location) -> Iterator[OpenFile]:
        """The file that holds an image, open; an archive's stays open for the next member.

        Raises:
            ImageRejected: ``vanished`` or ``unreadable``.
        """
        if location.kind == "file":
            handle, facts = open_regular(location.path)
            try:
                yield OpenFile(location, handle, facts)
            finally:
                os.close(handle)
            return
        file = self._borrow(location)
        try:
            yield file
        finally:
            self._give_back(file)

    def _borrow(self, location: Location) -> OpenFile:
        with self._lock:
            file = self._open.get(location.path)
            if file is None:
                handle, facts = open_regular(location.path)
                file = self._open[location.path] = OpenFile(location, handle, facts)
            self._open.move_to_end(location.path)
            file.users += 1
            self._evict()
            return file

    def _give_back(self, file: OpenFile) -> None:
        with self._lock:
            file.users -= 1
            self._evict()

    def _evict(self) -> None:
        for path in list(self._open):
            if len(self._open) <= self._max_open:
                return
            if self._open[path].users == 0:
                os.close(self._open.pop(path).handle)
