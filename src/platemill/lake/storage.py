"""How the lake touches files. Names are relative to the lake, with ``/`` between their parts.

Everything the lake promises rests on two operations: a file appears whole under its name, and a
name can be taken only once. Here they are a rename and a hard link; on S3 they are a PUT and a
PUT with ``If-None-Match``. Nothing else in the library knows which.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from platemill.errors import RetryableError

__all__ = ["LocalStorage"]

_TEMPORARY = "_tmp"
_POLL_SECONDS = 0.1


class LocalStorage:
    """The files of a lake in a local folder.

    Args:
        root: the folder; it is made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def locate(self, name: str) -> Path:
        """Where a file lies, for libraries that read it themselves.

        Raises:
            ValueError: the name leads out of the lake.
        """
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is not a name inside the lake {self.root}")
        return self.root / name

    def name_of(self, path: Path) -> str:
        """The name of a file that lies inside the lake; ``ValueError`` if it does not."""
        return path.absolute().relative_to(self.root).as_posix()

    def temporary(self, suffix: str = "") -> Path:
        """A new path of this process on the lake's own filesystem, in a folder that exists."""
        folder = self.root / _TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{os.getpid()}-{uuid.uuid4().hex}{suffix}"

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self.locate(name).is_file()

    def read(self, name: str) -> bytes | None:
        """A small file's bytes; None if there is none of that name."""
        try:
            return self.locate(name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        try:
            found = [entry.name for entry in os.scandir(self.locate(folder))]
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{name}" for name in found)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless the name is taken; of many callers exactly one gets True."""
        temporary = self.temporary()
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            return self.adopt(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, name: str) -> bool:
        """Give a finished, synced file of this filesystem its name, unless the name is taken.

        The file stays under its temporary name too; its owner removes it.
        """
        target = self.locate(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        _sync_folder(target.parent)
        return True

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if it is gone already."""
        self.locate(name).unlink(missing_ok=True)

    def remove_empty_folder(self, name: str) -> None:
        """Remove a folder if it is empty."""
        with contextlib.suppress(OSError):
            self.locate(name).rmdir()

    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float) -> Iterator[None]:
        """Hold a lock that the system releases when its holder dies, however it dies.

        Raises:
            RetryableError: somebody else held it for longer than ``wait_seconds``.
        """
        path = self.locate(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            deadline = time.monotonic() + wait_seconds
            while not _try_lock(file.fileno()):
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    raise RetryableError(
                        f"another process (pid {holder}) is publishing into {self.root} and "
                        f"held {path} for {wait_seconds:g} s; run again when it has finished"
                    )
                time.sleep(_POLL_SECONDS)
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def sweep_temporary(self) -> int:
        """Remove what processes that are gone left half-written; returns the bytes freed.

        A live process's files are told by its number, so nothing that is being written is touched.
        """
        freed = 0
        for name in self.names(_TEMPORARY):
            path = self.locate(name)
            owner = path.name.split("-", 1)[0]
            if owner.isdigit() and not _alive(int(owner)):
                with contextlib.suppress(FileNotFoundError):
                    freed += path.stat().st_size
                    path.unlink()
        return freed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: a synced file can still be lost with its folder's entry."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
