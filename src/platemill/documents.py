"""Small documents that one process leaves for another: there whole, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["append_line", "write_json"]


def write_json(path: Path, document: object) -> None:
    """Replace a file by a document in one step, so that a reader never sees half of it.

    Args:
        path: the file; its folder exists.
        document: what ``json`` can write.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(document))
    partial.replace(path)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file in one write, so that several processes of a machine may add at once.

    Args:
        path: the file; made if it is missing, unlike its folder.
        line: without its end.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        # Whoever wrote last may have been cut off. What it left must not spoil this line.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
    finally:
        os.close(descriptor)
