"""Small JSON documents that one process leaves for another: there whole, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["write_json"]


def write_json(path: Path, document: object) -> None:
    """Replace a file by a document in one step, so that a reader never sees half of it.

    Args:
        path: the file; its folder exists.
        document: what ``json`` can write.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(document))
    partial.replace(path)
