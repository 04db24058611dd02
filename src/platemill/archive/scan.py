"""One walk over the archives: every image's place, size and time.

Folders are walked in the order of their names, real ones before those behind links, so that a
photo that can be reached twice is listed once and always under the same path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

from platemill.archive.layout import IMAGE_EXTENSIONS
from platemill.archive.members import scan_container
from platemill.archive.reader import ArchiveReader, file_kind, rejection
from platemill.archive.rows import Rows
from platemill.archive.sidecar import SIDECARS, PlacedSidecar, Sidecar, read_sidecar
from platemill.archive.sources import Source, container_kind, is_compressed_tar, stem
from platemill.archive.times import file_time
from platemill.archive.uris import Location, file_uri, quote_name, readable
from platemill.errors import ArchiveError, ImageRejected

__all__ = ["Scan", "Scanner"]

_MOST_INDEX_BYTES: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Scan:
    """What a walk found: rows of ``SCAN_SCHEMA``, each URI once.

    Args:
        table: the rows.
        sidecars: the indexes, a nearer one before one further up.
        kept: URI → stamp of tars and zips that are as they were known; their members are not in
            ``table``.
        ignored: files that are no images by their names.
        unsure: URIs of folders, tars and zips that could not be listed whole, or are listed under
            another name: an image that is not seen there may still be there.
    """

    table: pa.Table
    sidecars: list[PlacedSidecar]
    kept: dict[str, str]
    ignored: int
    unsure: tuple[str, ...]


class Scanner:
    """Walks archives.

    Args:
        reader: opens tars, zips and indexes.
        rows: where the images go.
        stamps: URI → stamp of tars and zips whose members are all known and good.
    """

    def __init__(self, reader: ArchiveReader, rows: Rows, stamps: Mapping[str, str]) -> None:
        self._reader = reader
        self._rows = rows
        self._stamps = stamps
        self._folders: set[tuple[int, int]] = set()
        self._containers: set[str] = set()
        self._kept: dict[str, str] = {}
        self._sidecars: list[PlacedSidecar] = []
        self._linked: list[tuple[str, str]] = []
        self._unsure: list[str] = []
        self._walked: set[str] = set()
        self._ignored = 0

    def walk(self, sources: list[Source]) -> Iterator[int]:
        """Walk the archives; gives the number of rows so far after every folder and archive.

        Raises:
            ArchiveError: an ``index.csv`` or ``index.parquet`` is wrong.
        """
        for source in sources:
            if source.kind == "folder":
                yield from self._tree(source.path, source.name)
            else:
                self._container(source.path, source.kind, source.name)
                yield self._rows.seen
        for path, name in self._linked:  # grows while it is walked
            yield from self._tree(path, name)

    def result(self) -> Scan:
        """What was found, after ``walk`` has ended."""
        unsure = tuple(sorted(set(self._unsure)))
        return Scan(self._rows.table(), self._sidecars, self._kept, self._ignored, unsure)

    def _tree(self, root: str, root_name: str) -> Iterator[int]:
        # Folders to enter, and, with an index and the first row it may hold for, folders to leave.
        waiting: list[tuple[str, str, tuple[Sidecar, int] | None]] = [(root, root_name, None)]
        while waiting:
            path, name, leaving = waiting.pop()
            if leaving is not None:
                sidecar, start = leaving
                self._sidecars.append(PlacedSidecar(sidecar, name, start, self._rows.seen))
                continue
            entries = self._entries(path, name)
            for sidecar in self._indexes(path, entries):
                waiting.append((path, name, (sidecar, self._rows.seen)))
            prefix = file_uri(path.rstrip("/"))
            folders: list[tuple[str, str, None]] = []
            for entry in entries:
                if entry.name.startswith("."):
                    self._ignored += not _is_folder(entry)
                elif not _is_folder(entry):
                    self._file(entry, prefix, name)
                elif entry.is_symlink():
                    self._linked.append((entry.path, f"{name}/{readable(entry.name)}"))
                else:
                    folders.append((entry.path, f"{name}/{readable(entry.name)}", None))
            waiting.extend(reversed(folders))
            yield self._rows.seen

    def _entries(self, path: str, name: str) -> list[os.DirEntry[str]]:
        """A folder's entries by name; none if it was walked before or cannot be listed."""
        try:
            facts = Path(path).stat()
            if (facts.st_dev, facts.st_ino) in self._folders:
                if path not in self._walked:
                    self._unsure.append(file_uri(path))
                return []
            self._folders.add((facts.st_dev, facts.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            self._walked.add(path)
            return entries
        except OSError as error:
            # Photos may be missing, so this is a row, never silence.
            uri = file_uri(path.rstrip("/")) + "/"
            self._unsure.append(uri)
            self._rows.reject(f"{name}/", uri, rejection(path, error), 0, _link_time(path))
            return []

    def _indexes(self, path: str, entries: list[os.DirEntry[str]]) -> list[Sidecar]:
        """A folder's indexes; the last one is asked first, and that is index.csv."""
        sidecars = []
        for name in sorted({entry.name for entry in entries} & set(SIDECARS), reverse=True):
            where = f"{path}/{name}"
            try:
                with self._reader.opened(Location("file", where)) as file:
                    blocks = file.blocks(file.location, None, _MOST_INDEX_BYTES)
                    sidecars.append(read_sidecar(b"".join(blocks), where))
            except ImageRejected as error:
                raise ArchiveError(f"the index {where} cannot be read: {error.detail}") from None
        return sidecars

    def _file(self, entry: os.DirEntry[str], prefix: str, folder: str) -> None:
        name = entry.name
        if name[name.rfind(".") + 1 :].lower() not in IMAGE_EXTENSIONS:
            if entry.is_symlink() and _leads_nowhere(entry):
                # It may lead to a folder on a disk that is not mounted now.
                self._unsure.append(f"{prefix}/{quote_name(name)}")
            self._other(entry, prefix, folder)
            return
        path, uri = f"{folder}/{readable(name)}", f"{prefix}/{quote_name(name)}"
        try:
            facts = entry.stat()
        except OSError as error:
            self._rows.reject(path, uri, rejection(entry.path, error), 0, _link_time(entry.path))
            return
        modified_at = file_time(facts.st_mtime_ns)
        if stat.S_ISREG(facts.st_mode):
            self._rows.image(path, uri, facts.st_size, modified_at)
        else:
            problem = ImageRejected("unreadable", f"not a file but {file_kind(facts.st_mode)}")
            self._rows.reject(path, uri, problem, 0, modified_at)

    def _other(self, entry: os.DirEntry[str], prefix: str, folder: str) -> None:
        kind = container_kind(entry.name)
        if kind is not None:
            self._container(entry.path, kind, f"{folder}/{stem(entry.name)}")
        elif is_compressed_tar(entry.name):
            error = ImageRejected(
                "compressed_archive",
                "members of a compressed tar cannot be read one by one; unpack it, or make it an "
                "uncompressed .tar or a .zip",
            )
            path, uri = f"{folder}/{readable(entry.name)}", f"{prefix}/{quote_name(entry.name)}"
            self._rows.reject(path, uri, error, 0, _link_time(entry.path))
        elif entry.name not in SIDECARS:
            self._ignored += 1

    def _container(self, path: str, kind: Literal["tar", "zip"], name: str) -> None:
        uri = file_uri(path)
        if uri in self._containers:
            return
        self._containers.add(uri)
        found = scan_container(self._rows, self._reader, kind, path, name, self._stamps.get(uri))
        if found.kept is not None:
            self._kept[uri] = found.kept
        if not found.whole:
            self._unsure.append(uri)
        self._ignored += found.ignored
        self._sidecars.extend(found.sidecars)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat()
    except OSError:
        return True
    return False


def _link_time(path: str) -> int:
    """When a thing that cannot be opened was modified, as far as that is known; else 1970."""
    try:
        return file_time(os.lstat(path).st_mtime_ns)
    except OSError:
        return 0
