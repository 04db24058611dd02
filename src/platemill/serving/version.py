"""The version of a pipeline: what its recognitions depend on, as a short hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from platemill.errors import ConfigurationError
from platemill.serving.contracts import CONTRACTS, MODEL_VERSION
from platemill.vision.profile import BUILT_IN
from platemill.vision.profile_file import profile_text
from platemill.vision.version import PREPOST_VERSION

__all__ = ["pipeline_version", "versioned_files"]

_PARTS = ("*.onnx", "*.pt", "*.py", "*.toml")
_HEX_DIGITS = 12


def versioned_files(models: Path) -> list[Path]:
    """The files that recognitions depend on: weights, configs, code and profile of the models.

    Models for bulk work beside them are left out, for they must return the same.

    Raises:
        ConfigurationError: a model has no config or no weights and no code.
    """
    files: list[Path] = []
    for name in sorted(CONTRACTS):
        folder = models / name
        parts = [p for pattern in _PARTS for p in (folder / MODEL_VERSION).glob(pattern)]
        config = folder / "config.pbtxt"
        if not config.is_file() or not parts:
            raise ConfigurationError(
                f"model {name} is not whole in {models}: it needs config.pbtxt and, in "
                f"{MODEL_VERSION}/, its weights or its model.py"
            )
        files += [config, *sorted(parts)]
    return files


def pipeline_version(models: Path) -> str:
    """Hash of the weights, the configs, the models' code and the pre- and post-processing.

    Args:
        models: the repository that is served (`platemill.serving.repository.repository_of`).

    Returns:
        12 hexadecimal digits (BLAKE2b).

    Raises:
        ConfigurationError: the repository is not whole.
    """
    digest = hashlib.blake2b(digest_size=_HEX_DIGITS // 2)
    digest.update(PREPOST_VERSION.encode())
    # A profile that is beside the models is among their files; what it leaves out is here.
    digest.update(profile_text(BUILT_IN).encode())
    for path in versioned_files(models):
        content = hashlib.blake2b(path.read_bytes()).digest()
        digest.update(b"\0" + path.relative_to(models).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()
