"""The folder that the pages go to: prepared aside, and put in place of the old one at once."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError
from platemill.lake.storage import clear_disk_errors

__all__ = ["MARK", "refuse_foreign", "replaced_folder"]

MARK = "catalog.json"
"""The file by which a catalogue is known; it names every file of it."""

_MADE_BY = "platemill catalog"
_ABANDONED_SECONDS = 3600.0
_CURRENT_FOLDER = -100
_EXCHANGE = 2


@contextlib.contextmanager
def replaced_folder(out: Path, said: dict[str, Any]) -> Iterator[Path]:
    """Give an empty folder to fill; afterwards it stands where ``out`` is, and the old is gone.

    A process that dies before the end leaves the old folder as it was. What it leaves beside it
    is removed by the next one, an hour later.

    Args:
        out: the folder to make or to replace.
        said: what the mark holds besides the names of the files; filled in until the end.

    Raises:
        ConfigurationError: ``out`` is a file, or holds anything that is not a catalogue's.
        RetryableError: the disk is full.
    """
    out = out.resolve()
    refuse_foreign(out)
    with clear_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        fresh = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        fresh.mkdir()
    try:
        with clear_disk_errors(out):
            yield fresh
            names = sorted(path.relative_to(fresh).as_posix() for path in _files(fresh))
            document = {"made_by": _MADE_BY, **said, "files": [*names, MARK]}
            text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
            (fresh / MARK).write_text(text, encoding="utf-8")
            # Looked at again: it may have been filled while the pages were made.
            refuse_foreign(out)
            _put_in_place(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_foreign(out: Path) -> None:
    """Refuse a place where anything else than a catalogue would be lost.

    Raises:
        ConfigurationError: ``out`` is a file, or holds anything that is not a catalogue's.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigurationError(f"{out} is a file; name a folder that the pages go to")
    found = {path.relative_to(out).as_posix() for path in _files(out)}
    if not found and not any(out.iterdir()):
        return
    known = _named_by(out / MARK)
    if known is None:
        raise ConfigurationError(
            f"{out} is not empty and is not a catalogue of `platemill catalog` ({MARK} is missing "
            "or says something else). Name a folder that is new or empty"
        )
    others = sorted(found - known)
    if others:
        raise ConfigurationError(
            f"{out} is a catalogue, but holds {len(others)} files that are not part of it, such "
            f"as {others[0]}: they would be lost. Move them away, or name another folder"
        )


def _named_by(mark: Path) -> set[str] | None:
    """The files of a catalogue; None if the mark is not one."""
    try:
        document = json.loads(mark.read_text(encoding="utf-8"))
        if document["made_by"] != _MADE_BY:
            return None
        return set(map(str, document["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _put_in_place(fresh: Path, out: Path) -> None:
    """Let ``out`` be the fresh folder; ``fresh`` is the old one afterwards, or gone."""
    if not out.exists() or not any(out.iterdir()):
        fresh.replace(out)
    elif not _exchange(fresh, out):
        # Without the exchange there is a moment in which neither stands there.
        old = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        out.rename(old)
        fresh.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step; False if the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if rename(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sweep(out: Path) -> None:
    """Remove what processes that were killed left."""
    for left in out.parent.glob(f".{out.name}.*"):
        name = left.name.rpartition(".")[2]
        with contextlib.suppress(OSError, ValueError):
            uuid.UUID(hex=name)
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left)
