"""The images in a tar or zip, as rows of a walk."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from platemill.archive.containers import Listing, Member, list_tar, list_zip
from platemill.archive.layout import IMAGE_EXTENSIONS
from platemill.archive.reader import ArchiveReader, OpenFile
from platemill.archive.rows import Rows
from platemill.archive.sidecar import SIDECARS, PlacedSidecar, read_sidecar
from platemill.archive.sources import container_kind, is_compressed_tar
from platemill.archive.times import file_time
from platemill.archive.uris import Location, file_uri, member_uri, readable
from platemill.errors import ArchiveError, ImageRejected

__all__ = ["ContainerScan", "scan_container"]

_NO_IMAGE: Final = "no_image"
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class ContainerScan:
    """What a tar or zip added besides rows.

    ``kept`` is its stamp, if it is as it was known; ``whole``: all its members are listed.
    """

    kept: str | None = None
    ignored: int = 0
    sidecars: list[PlacedSidecar] = field(default_factory=list)
    whole: bool = True


def scan_container(
    rows: Rows,
    reader: ArchiveReader,
    kind: Literal["tar", "zip"],
    path: str,
    name: str,
    known_stamp: str | None,
) -> ContainerScan:
    """List a tar or zip into ``rows``.

    Args:
        rows: where to.
        reader: opens it.
        kind: which of the two.
        path: the archive's absolute path.
        name: what the paths of its members start with.
        known_stamp: its size and time when it was last listed, if all its members are known.

    Raises:
        ArchiveError: an index in it is wrong.
    """
    archive = file_uri(path)
    try:
        with reader.opened(Location(kind, path)) as file:
            stamp = f"{file.facts.st_size}:{file.facts.st_mtime_ns}"
            if stamp == known_stamp:
                return ContainerScan(stamp)
            modified_at = file_time(file.facts.st_mtime_ns)
            listing = (list_tar if kind == "tar" else list_zip)(file.handle, modified_at)
            start = rows.seen
            ignored = _add_members(rows, kind, listing, archive, name, stamp)
            sidecars = _indexes(file, kind, path, name, listing, start, rows.seen)
    except ImageRejected as error:
        rows.reject(name, archive, error)
        return ContainerScan(whole=False)
    if listing.problem:
        problem = ImageRejected("corrupt_archive", listing.problem)
        rows.reject(name, archive, problem, file.facts.st_size, modified_at)
    return ContainerScan(None, ignored, sidecars, whole=not listing.problem)


def _add_members(
    rows: Rows,
    kind: Literal["tar", "zip"],
    listing: Listing,
    archive: str,
    root: str,
    stamp: str,
) -> int:
    """Add the images; returns the number of members that are none."""
    images = {}
    ignored = 0
    for name, member in listing.members.items():
        if _is_index(name):
            continue
        problem = _problem(name, member)
        if problem is None or problem.reason != _NO_IMAGE:
            images[name] = (member, problem)
        else:
            ignored += 1
    # The number of rows lets a later inventory tell whether it knows all of them.
    stamp = f"{stamp}:{len(images)}"
    for name, (member, problem) in images.items():
        path, uri = f"{root}/{readable(name)}", member_uri(kind, name, archive)
        size, modified_at = member.byte_size, member.modified_at
        if problem is None:
            rows.image(path, uri, size, modified_at, member.offset, stamp)
        else:
            rows.reject(path, uri, problem, size, modified_at, stamp)
    return ignored


def _problem(name: str, member: Member) -> ImageRejected | None:
    """Why a member cannot be used, if so."""
    last = name.rpartition("/")[2]
    escapes = _escapes(name)
    if _is_hidden(name) and not escapes:
        return ImageRejected(_NO_IMAGE)
    if last[last.rfind(".") + 1 :].lower() not in IMAGE_EXTENSIONS:
        if container_kind(last) or is_compressed_tar(last):
            return ImageRejected("nested_archive", "an archive in an archive; unpack the outer one")
        return ImageRejected(_NO_IMAGE)
    if escapes:
        return ImageRejected("unsafe_path", f"the name {readable(name)!r} leads out of the archive")
    return ImageRejected(member.reason, member.detail or "") if member.reason else None


def _indexes(
    file: OpenFile,
    kind: Literal["tar", "zip"],
    path: str,
    root: str,
    listing: Listing,
    start: int,
    end: int,
) -> list[PlacedSidecar]:
    """The indexes in the archive, the deepest first, and index.csv before index.parquet."""
    names = [name for name, member in listing.members.items() if _is_index(name)]
    placed = []
    for name in sorted(names, key=lambda name: (-name.count("/"), name)):
        where = f"{path}!{name}"
        try:
            data = _whole(file, kind, path, listing.members[name])
        except ImageRejected as error:
            raise ArchiveError(f"the index {where} cannot be read: {error.detail}") from None
        folder = f"{root}/{readable(name)}".rpartition("/")[0]
        placed.append(PlacedSidecar(read_sidecar(data, where), folder, start, end))
    return placed


def _whole(file: OpenFile, kind: Literal["tar", "zip"], path: str, member: Member) -> bytes:
    if member.reason is not None:
        raise ImageRejected(member.reason, member.detail or "")
    location = Location(kind, path)
    data = b"".join(file.blocks(location, member.offset, member.byte_size))
    if len(data) != member.byte_size:
        raise ImageRejected("unreadable", f"{len(data):,} bytes instead of {member.byte_size:,}")
    return data


def _is_index(name: str) -> bool:
    return name.rpartition("/")[2] in SIDECARS and not _is_hidden(name) and not _escapes(name)


def _is_hidden(name: str) -> bool:
    return any(part[:1] == "." and part != ".." for part in name.split("/"))


def _escapes(name: str) -> bool:
    return (
        name.startswith(("/", "\\"))
        or _DRIVE.match(name) is not None
        or ".." in re.split(r"[\\/]", name)
    )
