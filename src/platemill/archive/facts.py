"""What an inventory has to find out about new and changed images: whose, when, and their hash."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from platemill.archive.exif import exif_time
from platemill.archive.layout import Layout
from platemill.archive.reader import ArchiveReader
from platemill.archive.sidecar import PlacedSidecar
from platemill.archive.times import file_time
from platemill.archive.uris import parse_uri
from platemill.errors import ImageRejected
from platemill.schema import TimeSource

__all__ = ["Content", "Origin", "Request", "hash_text", "origins", "read_contents"]

_THREADS: Final = 4
_BATCH: Final = 64
_HASH_BYTES: Final = 16


@dataclass(slots=True)
class Origin:
    """Whose an image is and when it was taken, as far as its path and an index say.

    ``captured_at`` is in microseconds since 1970, UTC; None: its bytes or its file must say.
    """

    camera: str
    captured_at: int | None
    source: TimeSource


def origins(
    paths: Sequence[str],
    rows: npt.NDArray[np.int64],
    layout: Layout,
    sidecars: Sequence[PlacedSidecar],
) -> list[Origin]:
    """Ask the layout first, then the indexes; the camera may come from another one than the time.

    Args:
        paths: the images' paths, from the archive's name on.
        rows: int64 [N], their places in the walk, ascending.
        layout: the path template.
        sidecars: the indexes, nearer ones first.
    """
    cameras: list[str | None] = []
    times: list[int | None] = []
    sources = []
    for path in paths:
        found = layout.match(path)
        cameras.append(found.camera if found else None)
        times.append(found.captured_at if found else None)
        sources.append(TimeSource.FILE if times[-1] is None else TimeSource.LAYOUT)
    for placed in sidecars:
        first, last = np.searchsorted(rows, (placed.start, placed.end))
        within = [
            place
            for place in range(int(first), int(last))
            if (cameras[place] is None or times[place] is None)
            and paths[place].startswith(f"{placed.folder}/")
        ]
        if not within:
            continue
        cut = len(placed.folder) + 1
        relative = pa.array([paths[place][cut:] for place in within], pa.string())
        for index, entry in placed.sidecar.find(relative).items():
            place = within[index]
            cameras[place] = cameras[place] or entry.camera
            if times[place] is None and entry.captured_at is not None:
                times[place], sources[place] = entry.captured_at, TimeSource.INDEX
    return [
        Origin(camera or _parent(path), time, source)
        for path, camera, time, source in zip(paths, cameras, times, sources, strict=True)
    ]


def _parent(path: str) -> str:
    parts = path.rsplit("/", 2)
    return parts[-2] if len(parts) > 1 else path


@dataclass(frozen=True, slots=True)
class Request:
    """An image to read. ``wants_time``: look for the time that its camera wrote into it."""

    uri: str
    offset: int | None
    byte_size: int
    wants_time: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What reading an image gave.

    Args:
        image_id: BLAKE2b-128 of the bytes, hex; of the URI if they cannot be used.
        exif_time: microseconds since 1970 in UTC, if it was asked for and is there.
        facts: size in bytes and modification time of a plain file when it was opened.
        reason: why it cannot be used, with ``detail`` for people.
    """

    image_id: str
    exif_time: int | None = None
    facts: tuple[int, int] | None = None
    reason: str | None = None
    detail: str | None = None


def hash_text(text: str) -> str:
    """The image_id of what has no bytes that could be hashed."""
    return hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()


def read_contents(
    reader: ArchiveReader, requests: Iterator[Request], max_image_bytes: int
) -> Iterator[Content]:
    """Read and hash images on a few threads, in order, block by block.

    Memory: a block a thread and a few hundred requests, however many there are.

    Raises:
        RetryableError: the machine is out of memory or file handles.
    """

    def read_batch(batch: list[Request]) -> list[Content]:
        return [_read(reader, request, max_image_bytes) for request in batch]

    waiting: deque[Future[list[Content]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inventory") as pool:
        try:
            while batch := list(islice(requests, _BATCH)):
                waiting.append(pool.submit(read_batch, batch))
                if len(waiting) >= 2 * _THREADS:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(reader: ArchiveReader, request: Request, max_image_bytes: int) -> Content:
    location = parse_uri(request.uri)
    facts = None
    try:
        with reader.opened(location) as file:
            byte_size = request.byte_size
            if location.kind == "file":
                byte_size = file.facts.st_size
                facts = (byte_size, file_time(file.facts.st_mtime_ns))
                if byte_size == 0:
                    raise ImageRejected("zero_bytes", "the file is empty")
                if byte_size > max_image_bytes:
                    raise ImageRejected("too_large", f"{byte_size:,} bytes")
            digest = hashlib.blake2b(digest_size=_HASH_BYTES)
            length = 0
            time = None
            for block in file.blocks(location, request.offset, byte_size):
                if request.wants_time and length == 0:
                    time = exif_time(block)
                digest.update(block)
                length += len(block)
        if length != byte_size:
            if location.kind == "file":
                raise ImageRejected("changed", "it was written to while it was read")
            raise ImageRejected("unreadable", f"{length:,} bytes, not {byte_size:,} as listed")
    except ImageRejected as error:
        return Content(hash_text(request.uri), None, facts, error.reason, error.detail)
    return Content(digest.hexdigest(), time, facts)
