"""URIs of images: ``file:///a/b.jpg``, ``tar://member::file:///a.tar``, ``zip://member::file:///a.zip``.

Chained as fsspec chains them. Every byte that is not a letter, a digit or one of ``/_.-~`` is
percent-encoded, so ``::`` occurs only between a member and its archive, and any file name, also
one that is not UTF-8, has exactly one URI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["Location", "file_uri", "member_uri", "parse_uri", "quote_name", "readable"]

Kind = Literal["file", "tar", "zip"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where an image lies: a file, or a member of a tar or zip.

    Args:
        kind: how the bytes are packed.
        path: the file to open; for a member, the archive's.
        member: the member's name; empty for a plain file.
    """

    kind: Kind
    path: str
    member: str = ""


def quote_name(name: str) -> str:
    """A file name as it stands in a URI."""
    return quote_from_bytes(os.fsencode(name))


def file_uri(path: str) -> str:
    """The URI of an absolute path."""
    return "file://" + quote_name(path)


def member_uri(kind: Kind, member: str, archive_uri: str) -> str:
    """The URI of a member of the tar or zip that ``archive_uri`` names."""
    return f"{kind}://{quote_from_bytes(member.encode('utf-8', 'surrogateescape'))}::{archive_uri}"


def parse_uri(uri: str) -> Location:
    """Undo ``file_uri`` and ``member_uri``.

    Raises:
        ValueError: it is none of the three forms.
    """
    if uri.startswith("file:///"):
        return Location("file", os.fsdecode(unquote_to_bytes(uri[7:])))
    kind, _, rest = uri.partition("://")
    member, separator, archive = rest.partition("::")
    if not separator or not archive.startswith("file:///"):
        raise ValueError(f"not an image's URI: {uri!r}")
    path = os.fsdecode(unquote_to_bytes(archive[7:]))
    name = unquote_to_bytes(member).decode("utf-8", "surrogateescape")
    if kind == "tar":
        return Location("tar", path, name)
    if kind == "zip":
        return Location("zip", path, name)
    raise ValueError(f"not an image's URI: {uri!r}")


def readable(name: str) -> str:
    """A name that can be stored as UTF-8: bytes that are not become U+FFFD."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return name
