"""The archives that were named, checked before anything starts."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from platemill.archive.reader import open_regular
from platemill.archive.uris import file_uri, readable
from platemill.errors import ArchiveError, ConfigurationError, ImageRejected

__all__ = ["Source", "container_kind", "is_compressed_tar", "open_sources", "stem"]

_COMPRESSED: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class Source:
    """A named archive that can be opened.

    Args:
        kind: folder, tar or zip.
        path: absolute, with symbolic links resolved: two names of one archive are one.
        name: what paths in it start with: the name it was given by, without ``.tar`` or ``.zip``.
    """

    kind: Literal["folder", "tar", "zip"]
    path: str
    name: str

    @property
    def uri(self) -> str:
        """Its own URI."""
        return file_uri(self.path)


def container_kind(name: str) -> Literal["tar", "zip"] | None:
    """Whether a file is an archive that can be read, by its name."""
    ending = name[-4:].lower()
    if ending == ".tar":
        return "tar"
    return "zip" if ending == ".zip" else None


def is_compressed_tar(name: str) -> bool:
    """Whether a file is a tar whose members cannot be read one by one, by its name."""
    return name.lower().endswith(_COMPRESSED)


def stem(name: str) -> str:
    """An archive's name without ``.tar`` or ``.zip``."""
    return readable(name[:-4] if container_kind(name) else name)


def open_sources(archives: Sequence[str | Path]) -> list[Source]:
    """Check every named archive, so that a wrong name ends the run before it starts.

    Raises:
        ConfigurationError: none is named.
        ArchiveError: one does not exist, is of no known kind, or cannot be opened at all.
    """
    if not archives:
        raise ConfigurationError("no archive is named: give a folder, a .tar or a .zip")
    return list({(s.kind, s.path): s for s in map(_open_source, archives)}.values())


def _open_source(archive: str | Path) -> Source:
    given = os.fspath(archive)
    if given.startswith("file://"):
        given = unquote(given[7:])
    elif "://" in given:
        raise ArchiveError(
            f"the archive {given} is not on this machine's file system; mount it and give its path"
        )
    path = os.path.realpath(Path(given).expanduser())
    name = Path(given).expanduser().absolute().name or "archive"
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(path):
                return Source("folder", path, readable(name))
    except FileNotFoundError:
        raise ArchiveError(f"the archive {given} does not exist") from None
    except OSError as error:
        raise ArchiveError(f"the archive {given} cannot be opened: {error.strerror}") from None
    kind = container_kind(path)
    if kind is None:
        hint = (
            "unpack it, or make it an uncompressed .tar or a .zip: members of a compressed tar "
            "cannot be read one by one"
            if is_compressed_tar(path)
            else "give a folder, a .tar or a .zip"
        )
        raise ArchiveError(f"the archive {given} is of no kind that is read: {hint}")
    _check_container(given, path, kind)
    return Source(kind, path, stem(name))


def _check_container(given: str, path: str, kind: Literal["tar", "zip"]) -> None:
    """Look at the beginning of a tar or the end of a zip; members are listed later."""
    try:
        handle, _ = open_regular(path)
    except ImageRejected as error:
        raise ArchiveError(f"the archive {given} cannot be opened: {error.detail}") from None
    with os.fdopen(handle, "rb") as file:
        try:
            if kind == "tar":
                tarfile.open(fileobj=file, mode="r:").close()
                return
            problem = "" if zipfile.is_zipfile(file) else "it has no directory at its end"
        # tarfile lets ValueError, OverflowError and more of hostile headers through.
        except Exception as error:
            problem = str(error)
    if problem:
        raise ArchiveError(
            f"the archive {given} cannot be opened as a {kind}: {problem}. "
            "Copy it again or take it out of the run"
        )
