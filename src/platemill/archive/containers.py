"""What a tar or a zip holds, without unpacking it.

A name that occurs twice counts once: the last member of that name, as both formats mean it.
While a tar is listed, about 0.4 KB a member are held; a zip, whose directory Python reads whole,
takes about 0.7 KB.
"""

from __future__ import annotations

import calendar
import os
import posixpath
import stat
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import Final

from platemill.archive.reader import ZIP_METHODS
from platemill.archive.times import FILE_EARLIEST, FILE_LATEST

__all__ = ["Listing", "Member", "list_tar", "list_zip"]

_BLOCK: Final = 512
_MOST_LINKS: Final = 16


@dataclass(frozen=True, slots=True)
class Member:
    """One member: where its bytes start, how many there are, when it was modified (µs UTC).

    ``reason`` and ``detail`` say why it cannot be used, if so.
    """

    offset: int
    byte_size: int
    modified_at: int
    reason: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Listing:
    """The members of an archive by their names, and what is wrong with the archive, if anything.

    ``problem`` is set when members may be missing: the archive is cut off or damaged.
    """

    members: dict[str, Member] = field(default_factory=dict)
    problem: str | None = None


def list_tar(handle: int, file_modified_at: int) -> Listing:
    """List an uncompressed tar.

    Args:
        handle: the open file.
        file_modified_at: for members whose own time is absurd, in microseconds since 1970.

    Returns:
        The members up to where the tar ends or is damaged. Links between members have the bytes
        of what they lead to.
    """
    listing = Listing()
    size = os.fstat(handle).st_size
    links: dict[str, tuple[str, int]] = {}
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        position = 0
        try:
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
            while (info := tar.next()) is not None:
                # tarfile keeps every member it has seen; a large tar would fill the memory.
                tar.members.clear()  # type: ignore[attr-defined]
                if info.size < 0 or tar.offset <= position:
                    listing.problem = f"damaged at byte {position:,}"
                    return listing
                position = tar.offset
                _add(listing, links, info, size, file_modified_at)
                if listing.problem:
                    return listing
            position = tar.offset
        # tarfile lets ValueError, OverflowError and more of hostile headers through.
        except Exception as error:
            listing.problem = f"damaged after byte {position:,}: {error}"
            return listing
        finally:
            _follow(listing, links)
        file.seek(position)
        mark = file.read(_BLOCK)
    if mark != bytes(_BLOCK):
        what = "cut off" if len(mark) < _BLOCK else "damaged"
        listing.problem = f"{what} at byte {position:,} of {size:,}"
    return listing


def _add(
    listing: Listing,
    links: dict[str, tuple[str, int]],
    info: tarfile.TarInfo,
    size: int,
    file_modified_at: int,
) -> None:
    name = _tidy(info.name)
    modified_at = _microseconds(info.mtime, file_modified_at)
    if info.isdir():
        return
    links.pop(name, None)
    if info.isreg() and not info.issparse():
        if info.offset_data + info.size > size:
            listing.problem = f"cut off in {info.name!r}, at byte {size:,}"
            return
        listing.members[name] = Member(info.offset_data, info.size, modified_at)
    elif info.islnk() and _tidy(info.linkname) in listing.members:
        listing.members[name] = listing.members[_tidy(info.linkname)]
    elif info.issym():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), info.linkname))
        listing.members.pop(name, None)
        links[name] = (target, modified_at)
    else:
        what = "a link to a member that is not there" if info.islnk() else "not an ordinary file"
        listing.members[name] = Member(0, 0, modified_at, "unreadable", what)


def _follow(listing: Listing, links: dict[str, tuple[str, int]]) -> None:
    for name, (target, modified_at) in links.items():
        for _ in range(_MOST_LINKS):
            if target not in links:
                break
            target = links[target][0]
        found = listing.members.get(target)
        listing.members[name] = found or Member(
            0, 0, modified_at, "unreadable", f"a link to {target!r}, which is not in the archive"
        )


def list_zip(handle: int, file_modified_at: int) -> Listing:
    """List a zip by its central directory.

    Args:
        handle: the open file.
        file_modified_at: for members whose own time is absurd, in microseconds since 1970.

    Returns:
        The members; none and a ``problem`` if there is no readable directory. A zip's times carry
        no zone and are taken as UTC.
    """
    listing = Listing()
    with os.fdopen(os.dup(handle), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        name = _tidy(info.filename)
                        listing.members[name] = _zip_member(info, file_modified_at)
        # zipfile lets struct.error, ValueError and more of hostile files through.
        except Exception as error:
            listing.members.clear()
            listing.problem = f"no readable directory: {error}"
    return listing


def _zip_member(info: zipfile.ZipInfo, file_modified_at: int) -> Member:
    modified_at = _microseconds(_zip_seconds(info.date_time), file_modified_at)
    detail = None
    if info.flag_bits & 1:
        detail = "encrypted"
    elif info.compress_type not in ZIP_METHODS:
        detail = f"compressed in the zip by method {info.compress_type}; only deflate is read"
    elif stat.S_ISLNK(info.external_attr >> 16):
        detail = "a link in a zip"
    reason = "unreadable" if detail else None
    return Member(info.header_offset, info.file_size, modified_at, reason, detail)


def _zip_seconds(fields: tuple[int, int, int, int, int, int]) -> float:
    year, month, day, hour, minute, second = fields
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return float("nan")
    return calendar.timegm((year, month, day, hour, minute, second))


def _microseconds(seconds: float, instead: int) -> int:
    """Seconds as microseconds; ``instead`` for what is no time of a file, zero among it."""
    if not FILE_EARLIEST / 1e6 <= seconds <= FILE_LATEST / 1e6 or seconds == 0:
        return instead
    return int(seconds * 1_000_000)


def _tidy(name: str) -> str:
    """A member's name without ``./`` and doubled slashes; ``..`` and a leading slash stay."""
    if name[:1] != "/" and "//" not in name and "./" not in name:
        return name
    kept = "/".join(part for part in name.split("/") if part not in ("", "."))
    return "/" + kept if name.startswith("/") else kept
