"""The detector of a served model, whichever form its file has.

Runs in Triton's environment. onnxruntime is needed by ONNX files alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from platemill.serving.torchscript import Network

if TYPE_CHECKING:
    from platemill.serving.onnx import OnnxNetwork

__all__ = ["open_detector"]


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
