"""The model repository that is served: the checkout's, or one assembled from a profile.

An assembled repository has the same models under the same names, with the profile's networks
in place of the project's, configs of the profile's shapes, and the profile itself beside the models
that read it. It is a folder of its own for every profile, so a server never sees it change.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from platemill.errors import ConfigurationError
from platemill.serving.contracts import (
    MODEL_VERSION,
    PLATE_BULK,
    ModelContract,
    contracts_for,
)
from platemill.serving.model_config import parse_config
from platemill.serving.overlay import overlaid, with_instances
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.vision.profile import Profile
from platemill.vision.profile_file import SERVED_NAME, load_profile, profile_text

__all__ = [
    "IDENTITY",
    "assemble",
    "config_of",
    "repository_for_a_job",
    "repository_of",
    "require_files",
]

IDENTITY: Final = Path("infra/triton/identity/model.py")
"""The model that returns its input, below the project's folder."""

_MODEL_OF: Final = {"detector": "yolo", "stn": "stn", "reader": "lprnet"}
_READ_THE_PROFILE: Final = ("yolo", "plate_recognition")
_TORCHSCRIPT: Final = (".pt", ".torchscript", ".ts")
_ONNX: Final = ".onnx"
_HEX_DIGITS: Final = 12


def repository_of(settings: Settings) -> Path:
    """The folder that Triton serves; made first if there is a profile or an overlay.

    Raises:
        ConfigurationError: the profile, one of its files, the overlay or the checkout's repository
            is wrong.
    """
    models, made = settings.models, settings.home / "models"
    if settings.profile is not None:
        models = assemble(load_profile(settings.profile), settings, made)
    if settings.overlay.is_dir():
        models = overlaid(models, settings.overlay, made)
    return models


def repository_for_a_job(settings: Settings) -> Path:
    """The folder that a job's own server serves: an instance of ``plate_bulk`` for every core here.

    An overlay that says how many there are has the last word.

    Raises:
        ConfigurationError: as ``repository_of``.
    """
    models = repository_of(settings)
    is_tuned = (settings.overlay / PLATE_BULK.name).is_dir()
    if is_tuned or not (models / PLATE_BULK.name).is_dir():
        return models
    cores = len(os.sched_getaffinity(0))
    return with_instances(models, PLATE_BULK.name, cores, settings.home / "models")


def assemble(profile: Profile, settings: Settings, target: Path) -> Path:
    """Make the repository of a profile: ``TARGET/KEY``, whole or not at all.

    The key is a hash of the profile, of its files and of the checkout's repository, so what is
    there already is what would be made.

    Raises:
        ConfigurationError: a file of the profile cannot be served, or the checkout's repository
            is not whole.
    """
    require_files(profile)
    contents = {name: path.read_bytes() for name, path in profile.files.items()}
    served = _as_served(profile)
    digest = hashlib.blake2b(digest_size=_HEX_DIGITS // 2)
    for part in (pipeline_version(settings.models), profile_text(served)):
        digest.update(part.encode() + b"\0")
    for name, content in sorted(contents.items()):
        digest.update(name.encode() + b"\0" + hashlib.blake2b(content).digest())
    contracts = list(contracts_for(served).values())
    # A repository may be without it; it is no part of the pipeline's version.
    bulk = settings.models / PLATE_BULK.name
    if bulk.is_dir():
        contracts.append(PLATE_BULK)
        for path in (bulk / "config.pbtxt", *sorted((bulk / MODEL_VERSION).glob("*.py"))):
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
    folder = target / digest.hexdigest()
    if folder.is_dir():
        return folder
    partial = target / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        for contract in contracts:
            _write_model(partial, contract, settings, served)
        for name, content in contents.items():
            version = partial / _MODEL_OF[name] / MODEL_VERSION
            (version / _file_name(name, profile)).write_bytes(content)
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir():  # else another process was first, with the same
            raise
    return folder


def require_files(profile: Profile) -> None:
    """Refuse files that are missing, or in a form that is never opened.

    Raises:
        ConfigurationError: the text names the file and the cure.
    """
    for name, path in profile.files.items():
        if not path.is_file():
            raise ConfigurationError(
                f"{name}.file: there is no file {path}; a relative path begins at the profile's "
                "folder"
            )
        allowed = (*_TORCHSCRIPT, _ONNX) if name == "detector" else _TORCHSCRIPT
        if path.suffix not in allowed:
            raise ConfigurationError(
                f"{name}.file: {path.name} is none of {', '.join(allowed)}. A checkpoint (.pth, "
                ".ckpt) is a pickle, which runs code when it is opened: export the network as "
                "TorchScript (torch.jit.trace or torch.jit.script, then save)"
            )
        if path.suffix in _TORCHSCRIPT and not _is_torchscript(path):
            raise ConfigurationError(
                f"{name}.file: {path.name} is no TorchScript; a YOLO checkpoint has the same "
                "ending, but it is a pickle, which runs code when it is opened. Export it: "
                f"`yolo export model={path.name} format=onnx` or, for other networks, "
                "torch.jit.trace(network, example).save(file)"
            )


def _is_torchscript(path: Path) -> bool:
    """Whether the file is a zip with the constants that only TorchScript has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _file_name(name: str, profile: Profile) -> str:
    if name != "detector":
        return "model.pt"
    return "detector.onnx" if profile.files[name].suffix == _ONNX else "detector.pt"


def _as_served(profile: Profile) -> Profile:
    """The profile with its files under the names that they are served with."""
    parts = {
        name: getattr(profile, name).model_copy(update={"file": _file_name(name, profile)})
        for name in profile.files
    }
    return profile.model_copy(update=parts)


def _write_model(
    target: Path, contract: ModelContract, settings: Settings, served: Profile
) -> None:
    """Write one model's folder without the files of the user's own."""
    source = settings.models / contract.name
    folder = target / contract.name
    version = folder / MODEL_VERSION
    version.mkdir(parents=True)
    config = _config(source / "config.pbtxt", contract, _parameters(contract.name, served))
    (folder / "config.pbtxt").write_text(config)
    own = {_MODEL_OF[name] for name in served.files}
    if contract.name == "stn" and not served.straightens:
        shutil.copyfile(settings.project / IDENTITY, version / "model.py")
    else:
        for path in sorted((source / MODEL_VERSION).iterdir()):
            weights = path.suffix not in (".py", ".toml")
            if path.is_file() and not (weights and contract.name in own):
                shutil.copyfile(path, version / path.name)
    if contract.name in _READ_THE_PROFILE:
        (version / SERVED_NAME).write_text(profile_text(served), encoding="utf-8")


def _parameters(model: str, profile: Profile) -> dict[str, str]:
    """What a config says of the user's own network."""
    rows = {"stn": profile.stn.rows_at_once, "lprnet": profile.reader.rows_at_once}.get(model, 0)
    return {"ROWS_AT_ONCE": str(rows)} if rows else {}


def _config(base: Path, contract: ModelContract, parameters: Mapping[str, str]) -> str:
    """A model's config with the contract's backend and shapes, all else as in the checkout's."""
    from google.protobuf import text_format

    config = parse_config(base)
    config.backend = contract.backend
    for tensors, wanted in ((config.input, contract.inputs), (config.output, contract.outputs)):
        shapes = {tensor.name: tensor.shape for tensor in wanted}
        for tensor in tensors:
            tensor.dims[:] = shapes[tensor.name]
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return str(text_format.MessageToString(config))


def config_of(repository: Path, model: str) -> dict[str, Any]:
    """A model's config, as Triton hands it to the model."""
    from google.protobuf import json_format

    config = parse_config(repository / model / "config.pbtxt")
    as_json: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    return as_json
