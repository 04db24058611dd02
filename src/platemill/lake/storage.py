"""How the lake touches files. Names are relative to the lake, with ``/`` between their parts.

Everything the lake promises rests on two operations: a file appears whole under its name, and a
name can be taken only once. In a folder they are a rename and a hard link; in a bucket they are a
PUT and a PUT with ``If-None-Match``. Nothing else in the library knows which.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from platemill.errors import DiskFull, PlatemillError

__all__ = [
    "Entry",
    "LocalStorage",
    "Storage",
    "clear_disk_errors",
    "is_no_room",
    "no_room",
    "plain",
]

_TEMPORARY = "_tmp"
_SQLITE_FULL = "database or disk is full"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FOREIGN_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the lake: its name, its size in bytes and when it was written (UTC)."""

    name: str
    bytes: int
    modified_at: datetime


class Storage(Protocol):
    """The files of a lake. Any number of processes may use it at once.

    Every method raises ``DiskFull`` if the place is full, ``RetryableError`` if it does not answer,
    and ``ValueError`` if a name leads out of the lake.
    """

    @property
    def root(self) -> Path:
        """The local folder: the lake itself, or what is kept here of a bucket."""
        ...

    @property
    def url(self) -> str:
        """Where the lake is, for people."""
        ...

    def locate(self, name: str) -> Path:
        """Where a file lies, for libraries that read it themselves.

        A lake's files never change: one of a bucket is fetched once, whole or not at all.

        Raises:
            FileNotFoundError: a bucket has no such file. (A folder's path is not looked at.)
        """
        ...

    def locate_all(self, names: Sequence[str]) -> list[Path]:
        """Where several files lie; those of a bucket are fetched at the same time."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file's bytes as they are now; None if there is none of that name."""
        ...

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """``read`` of many files; those of a bucket are read at the same time."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of a folder's own files, sorted; empty if there is no such folder."""
        ...

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """The files below a folder at any depth, in no promised order."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless the name is taken; of many callers exactly one gets True.

        An error leaves open whether it was written: the answer may be what was lost.
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file over what was there; the last one wins. For heartbeats."""
        ...

    def adopt(self, temporary: Path, name: str) -> bool:
        """Give a finished file from ``temporary`` its name unless it is taken; True if it was not.

        The file stays under its temporary name too; its owner removes it.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, and what is kept of it here; nothing happens if it is gone already."""
        ...

    def remove_all(self, names: Sequence[str]) -> None:
        """``remove`` of many files, in no promised order."""
        ...

    def cached(self) -> Iterator[Entry]:
        """What is kept here of a bucket; nothing if the lake is a folder."""
        ...

    def forget(self, name: str) -> int:
        """Remove what is kept here of a bucket's file, not the file; returns the bytes freed."""
        ...

    def temporary(self, suffix: str = "") -> Path:
        """A new path of this process in a local folder that exists, for ``adopt``."""
        ...

    def sweep_temporary(self) -> int:
        """Remove what processes that are gone left half-written; returns the bytes freed."""
        ...


class LocalStorage:
    """The files of a lake in a local folder.

    Args:
        root: the folder; it is made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.root)

    def locate(self, name: str) -> Path:
        """Where a file lies or would lie."""
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is not a name inside the lake {self.root}")
        return self.root / name

    def locate_all(self, names: Sequence[str]) -> list[Path]:
        """Where files lie or would lie."""
        return [self.locate(name) for name in names]

    def temporary(self, suffix: str = "") -> Path:
        """A new path of this process on the lake's own filesystem, in a folder that exists."""
        folder = self.root / _TEMPORARY
        with clear_disk_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{os.getpid()}~{socket.gethostname()}~{uuid.uuid4().hex}{suffix}"

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self.locate(name).is_file()

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None if there is none of that name."""
        try:
            return self.locate(name).read_bytes()
        except FileNotFoundError:
            return None

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of many small files."""
        return [self.read(name) for name in names]

    def names(self, folder: str) -> list[str]:
        """The names of a folder's own files, sorted; empty if there is no such folder."""
        try:
            with os.scandir(self.locate(folder)) as found:
                return sorted(f"{folder}/{entry.name}" for entry in found if not entry.is_dir())
        except FileNotFoundError:
            return []

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """The files below a folder at any depth; half-written ones are left out."""
        for path, folders, files in os.walk(self.locate(folder)):
            if Path(path) == self.root and _TEMPORARY in folders:
                folders.remove(_TEMPORARY)
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    yield _entry(self.root, Path(path, file))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless the name is taken; of many callers exactly one gets True."""
        with self._written(data) as temporary:
            return self.adopt(temporary, name)

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file over what was there."""
        target = self.locate(name)
        with self._written(data) as temporary, clear_disk_errors(self.root):
            while True:
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    temporary.replace(target)
                    return

    def adopt(self, temporary: Path, name: str) -> bool:
        """Give a finished, synced file of this filesystem its name, unless the name is taken."""
        target = self.locate(name)
        with clear_disk_errors(self.root):
            while True:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(temporary, target)
                    _sync_folder(target.parent)
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    # Somebody removed the folder's last file, and with it the folder.
                    if not temporary.exists():
                        raise
                else:
                    return True

    def remove(self, name: str) -> None:
        """Remove a file and the folders that this leaves empty."""
        path = self.locate(name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            while path.parent != self.root:
                path = path.parent
                path.rmdir()

    def remove_all(self, names: Sequence[str]) -> None:
        """Remove many files."""
        for name in names:
            self.remove(name)

    def cached(self) -> Iterator[Entry]:
        """Nothing: the lake is here."""
        return iter(())

    def forget(self, name: str) -> int:
        """Nothing to do: the lake is here."""
        return 0

    def sweep_temporary(self) -> int:
        """Remove what processes that are gone left half-written; returns the bytes freed.

        A live process's files are told by its number. Those of another machine that shares the
        folder are left alone for a week.
        """
        freed = 0
        for path in self._temporaries():
            with contextlib.suppress(FileNotFoundError):
                if _is_abandoned(path):
                    freed += _remove_tree(path)
        return freed

    def _temporaries(self) -> list[Path]:
        try:
            return list((self.root / _TEMPORARY).iterdir())
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """A temporary file that holds bytes safely."""
        temporary = self.temporary()
        try:
            with clear_disk_errors(self.root), temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def clear_disk_errors(place: Path) -> Iterator[None]:
    """Say what to do about a full disk.

    Raises:
        DiskFull: a write found no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise no_room(place, os.strerror(error.errno)) from error


def is_no_room(text: str) -> bool:
    """Whether an error's text, from a library that has only texts, tells of a full disk."""
    return _SQLITE_FULL in text or any(os.strerror(number) in text for number in _FULL)


def plain(error: Exception, place: Path | str) -> Exception:
    """An error as people are told it: one of a full disk says so, whoever met it."""
    if isinstance(error, PlatemillError) or not is_no_room(str(error)):
        return error
    return no_room(place, str(error))


def no_room(place: Path | str, why: str) -> DiskFull:
    """The error for a full disk."""
    return DiskFull(
        f"there is no room left for {place} ({why}); nothing half-written is visible. Free some "
        "space, `platemill vacuum` does, and run again: what was recognised is kept"
    )


def _entry(root: Path, path: Path) -> Entry:
    seen = path.stat()
    written = datetime.fromtimestamp(seen.st_mtime, UTC)
    return Entry(path.relative_to(root).as_posix(), seen.st_size, written)


def _is_abandoned(path: Path) -> bool:
    pid, _, rest = path.name.partition("~")
    host = rest.rpartition("~")[0]
    if host == socket.gethostname() and pid.isdigit():
        return not _alive(int(pid))
    return time.time() - path.stat().st_mtime > _FOREIGN_SECONDS


def _remove_tree(path: Path) -> int:
    """Remove a file or a folder; returns its bytes."""
    if not path.is_dir():
        size = path.stat().st_size
        path.unlink()
        return size
    size = sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
    shutil.rmtree(path)
    return size


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: a synced file can still be lost with its folder's entry."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
