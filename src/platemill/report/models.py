"""Which models recognised a night: kept in the run's folder as long as they are the night's."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import platemill
from platemill.documents import write_json
from platemill.errors import ConfigurationError
from platemill.report.facts import ModelFile, ModelFiles, Models
from platemill.serving.contracts import MODEL_VERSION
from platemill.serving.model_config import parse_config
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version, versioned_files
from platemill.settings import Settings
from platemill.vision.version import PREPOST_VERSION

__all__ = ["models_of"]

_KEPT: Final = "models.json"
_DIGEST_BYTES: Final = 8


def models_of(settings: Settings, folder: Path, version: str | None, before: str | None) -> Models:
    """The models of a run.

    The first time that they are asked for, while the repository still is the run's, they are
    written into its folder: afterwards another one may be served.

    Args:
        settings: where the models are.
        folder: the run's.
        version: the pipeline version of its plan; None: there is none yet.
        before: that of the generation before.
    """
    told = Models(version, before)
    if version is None:
        return told
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _from_json(json.loads((folder / _KEPT).read_text(encoding="utf-8")), told)
    try:
        repository = repository_of(settings)
        if pipeline_version(repository) != version:
            return told
        found = replace(
            told,
            models=tuple(_models(repository)),
            prepost_version=PREPOST_VERSION,
            platemill_version=platemill.__version__,
        )
    except (ConfigurationError, OSError):
        return told
    with contextlib.suppress(OSError):
        write_json(folder / _KEPT, asdict(found))
    return found


def _models(repository: Path) -> Iterator[ModelFiles]:
    """The models whose files the pipeline version is made of."""
    files = versioned_files(repository)
    for name, paths in groupby(files, lambda path: path.relative_to(repository).parts[0]):
        mine = list(paths)
        whole = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        listed = []
        for path in mine:
            content = path.read_bytes()
            digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
            inside = path.relative_to(repository / name).as_posix()
            whole.update(f"{inside}\0{digest}\0".encode())
            listed.append(ModelFile(inside, len(content), digest))
        config = parse_config(repository / name / "config.pbtxt")
        backend = str(config.backend or config.platform)
        yield ModelFiles(name, MODEL_VERSION, backend, whole.hexdigest(), tuple(listed))


def _from_json(said: dict[str, Any], told: Models) -> Models:
    if said["pipeline_version"] != told.pipeline_version:
        raise ValueError("of another plan")
    models = tuple(
        ModelFiles(**{**model, "files": tuple(ModelFile(**file) for file in model["files"])})
        for model in said["models"]
    )
    return replace(
        told,
        models=models,
        prepost_version=said["prepost_version"],
        platemill_version=said["platemill_version"],
    )
