"""Shared-memory regions of an embedded server: named after it, removed with it.

The Python backend's stubs make regions in /dev/shm and leave them behind when they are killed. A
server's regions carry its token in their names. A lock file beside them is held by the server's
supervisor for as long as it lives, so that anyone can tell a living server's regions from a dead
one's, across containers that share /dev/shm too (process ids would not do there). A client's
regions of frames have a name for a moment only and are locked themselves meanwhile.

Standard library only: the supervisor imports this.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = [
    "FRAMES",
    "SHM",
    "claim",
    "hold",
    "is_held",
    "region_prefix",
    "regions",
    "remove",
    "sweep",
    "sweep_frames",
]

SHM = Path("/dev/shm")
FRAMES = "platemill-frames-"
"""What the names of clients' regions begin with."""

_PREFIX = "platemill-triton-"


def region_prefix(token: str) -> str:
    """The beginning of the names of a server's regions."""
    return f"{_PREFIX}{token}-"


def _lock_file(token: str, folder: Path) -> Path:
    return folder / f"{_PREFIX}{token}.lock"


def _take(path: Path, flags: int) -> int | None:
    """Lock the file; None if it is gone, held by another, or not ours."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, someone may have removed the file.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def hold(token: str, folder: Path = SHM) -> int:
    """Mark the token as alive for as long as this process is; returns the lock's descriptor.

    Raises:
        RuntimeError: another process holds the token.
    """
    return claim(_lock_file(token, folder))


def claim(path: Path) -> int:
    """Make a file that no sweep removes while this process has it open; returns its descriptor.

    Raises:
        RuntimeError: another process holds it.
    """
    for _ in range(10):
        descriptor = _take(path, os.O_CREAT)
        if descriptor is not None:
            return descriptor
    raise RuntimeError(f"{path} is held by another process")


def is_held(token: str, folder: Path = SHM) -> bool:
    """Whether the server of that token is alive."""
    path = _lock_file(token, folder)
    descriptor = _take(path, 0)
    if descriptor is None:
        return path.exists()
    os.close(descriptor)
    return False


def regions(token: str, folder: Path = SHM) -> list[Path]:
    """The regions of that token that exist now."""
    return sorted(folder.glob(f"{region_prefix(token)}*"))


def remove(token: str, folder: Path = SHM) -> int:
    """Remove the token's regions and its lock file; returns how many regions there were."""
    found = regions(token, folder)
    for path in found:
        path.unlink(missing_ok=True)
    _lock_file(token, folder).unlink(missing_ok=True)
    return len(found)


def sweep(folder: Path = SHM) -> int:
    """Remove what servers left that died without cleaning up; returns how many regions."""
    removed = 0
    for path in folder.glob(f"{_PREFIX}*.lock"):
        descriptor = _take(path, 0)
        if descriptor is not None:
            removed += remove(path.name.removeprefix(_PREFIX).removesuffix(".lock"), folder)
            os.close(descriptor)
    return removed


def sweep_frames(folder: Path = SHM) -> int:
    """Remove frames' regions of clients that died while they registered them; returns how many."""
    removed = 0
    for path in folder.glob(f"{FRAMES}*"):
        descriptor = _take(path, 0)
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            removed += 1
    return removed
