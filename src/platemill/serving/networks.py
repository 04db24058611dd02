"""The networks of served models, whichever form their files have.

Runs in Triton's environment. onnxruntime is needed by ONNX files alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from platemill.serving.contracts import MODEL_VERSION, contracts_for
from platemill.serving.pipeline import Pipeline
from platemill.serving.repository import config_of
from platemill.serving.torchscript import Network
from platemill.vision.detector import prepare
from platemill.vision.profile_file import served_profile

if TYPE_CHECKING:
    from platemill.serving.onnx import OnnxNetwork

__all__ = ["open_detector", "open_pipeline"]

_WARMING_RUNS = 3
_WARM_IMAGE = (360, 640, 3)


def open_detector(folder: Path, args: Mapping[str, str]) -> Network | OnnxNetwork:
    """Load ``detector.onnx`` of a model's version folder if it is there, else ``detector.pt``.

    Args:
        folder: the version folder.
        args: what Triton hands to ``TritonPythonModel.initialize``.
    """
    path = folder / "detector.onnx"
    if not path.is_file():
        return Network(folder / "detector.pt", args)
    from platemill.serving.onnx import OnnxNetwork

    return OnnxNetwork(path, args)


def open_pipeline(repository: Path, args: Mapping[str, str]) -> tuple[Pipeline, str]:
    """Load the three networks of a repository into this process, warm, as their models run them.

    Each is run in the precision, with the threads and in the batches that its own model's config
    says or leads to, for it has to give the same bits.

    Args:
        repository: the model repository; ``yolo``, ``stn`` and ``lprnet`` lie in it.
        args: what Triton hands to the ``initialize`` of the model that wants them.

    Returns:
        The pipeline, and how its networks run, for a log.
    """
    folders = {name: repository / name / MODEL_VERSION for name in ("yolo", "stn", "lprnet")}
    profile = served_profile(folders["yolo"])
    given = {name: _args_of(repository, name, args) for name in folders}
    detector = open_detector(folders["yolo"], given["yolo"])
    blank = prepare(np.zeros(_WARM_IMAGE, np.uint8), profile.detector)[0]
    for _ in range(_WARMING_RUNS):
        detector(blank)
    contracts = contracts_for(profile)
    told = [f"yolo: {detector}"]
    rows: list[Callable[[NDArray[np.float32]], NDArray[np.float32]]] = []
    for name in ("stn", "lprnet"):
        path = folders[name] / "model.pt"
        if name == "stn" and not profile.straightens:
            rows.append(_as_it_is)
            continue
        network = Network(path, given[name])
        network.find_sizes(contracts[name].inputs[0].shape)
        rows.append(partial(network.rows, row_shape=contracts[name].outputs[0].shape))
        told.append(f"{name}: {network}")
    return Pipeline(detector, rows[0], rows[1], profile), "; ".join(told)


def _as_it_is(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    return crops


def _args_of(repository: Path, name: str, args: Mapping[str, str]) -> dict[str, str]:
    """What Triton hands to a model, but on the device of the model that asks."""
    config = config_of(repository, name)
    return {**args, "model_name": name, "model_config": json.dumps(config)}
