"""Settings of a machine over a model repository: instances, threads, devices, batches.

An overlay is a folder that holds ``MODEL/config.pbtxt`` for the models that it changes, with no
more than what it changes. What lists instances replaces the list; everything else is merged. The
repository itself is never touched: what is served is a copy under a name of its contents.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final

from platemill.errors import ConfigurationError
from platemill.serving.model_config import parse_config

__all__ = ["overlaid", "with_instances"]

_CONFIG: Final = "config.pbtxt"
_HEX_DIGITS: Final = 12


def overlaid(models: Path, overlay: Path, target: Path) -> Path:
    """Make the repository that an overlay leads to: ``TARGET/KEY``, whole or not at all.

    Models that the overlay does not name stay as they are, to the byte, so an overlay of
    ``plate_bulk`` alone changes no pipeline version.

    Raises:
        ConfigurationError: the overlay names a model that there is not, or is no config.
    """
    changed = {path.parent.name: path for path in sorted(overlay.glob(f"*/{_CONFIG}"))}
    unknown = [name for name in changed if not (models / name).is_dir()]
    if unknown:
        raise ConfigurationError(
            f"the overlay {overlay} changes {', '.join(unknown)}, and {models} has no such model"
        )
    digest = hashlib.blake2b(digest_size=_HEX_DIGITS // 2)
    for path in sorted(p for p in models.rglob("*") if p.is_file()):
        if "__pycache__" not in path.parts:
            digest.update(path.relative_to(models).as_posix().encode() + b"\0")
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
    for name, path in changed.items():
        digest.update(name.encode() + b"\0" + hashlib.blake2b(path.read_bytes()).digest())
    folder = target / digest.hexdigest()
    if folder.is_dir():
        return folder
    partial = target / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        shutil.copytree(models, partial, ignore=shutil.ignore_patterns("__pycache__"))
        for name, path in changed.items():
            (partial / name / _CONFIG).write_text(_merged(models / name / _CONFIG, path))
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def with_instances(models: Path, model: str, count: int, target: Path) -> Path:
    """The repository with so many instances of a model, of each GPU where there are some.

    Returns:
        A copy, or the repository itself if it has so many.
    """
    config = parse_config(models / model / _CONFIG)
    if [group.count for group in config.instance_group] == [count]:
        return models
    with tempfile.TemporaryDirectory(prefix="platemill-overlay-") as folder:
        change = Path(folder) / model / _CONFIG
        change.parent.mkdir()
        change.write_text(f"instance_group [ {{ kind: KIND_AUTO count: {count} }} ]\n")
        return overlaid(models, Path(folder), target)


def _merged(base: Path, change: Path) -> str:
    from google.protobuf import text_format

    config, changes = parse_config(base), parse_config(change)
    if changes.instance_group:
        del config.instance_group[:]
    config.MergeFrom(changes)
    return str(text_format.MessageToString(config))
