"""ONNX networks as Triton's models run them, with onnxruntime.

Runs in Triton's environment, where onnxruntime is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from platemill.serving.torchscript import threads_for

__all__ = ["OnnxNetwork"]


class OnnxNetwork:
    """An ONNX file with one input, run the same way every time; `str()` says where and how."""

    def __init__(self, path: Path, args: Mapping[str, str]) -> None:
        """Load the file.

        Args:
            path: the ONNX file.
            args: what Triton hands to ``TritonPythonModel.initialize``.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads_for(json.loads(args["model_config"]))
        # Threads that wait must sleep, not spin: other models share the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(args))
        self._input = self._session.get_inputs()[0]
        half = self._input.type == "tensor(float16)"
        self._type = np.float16 if half else np.float32
        self.threads = options.intra_op_num_threads

    def __str__(self) -> str:
        return f"ONNX, {self._session.get_providers()[0]}, {self.threads} threads"

    @property
    def input_shape(self) -> list[int | str]:
        """The shape of its input; a name stands for a size that may vary."""
        return list(self._input.shape)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on the batch; float32 in and out, the first of its outputs."""
        given = np.ascontiguousarray(batch, self._type)
        answer = self._session.run(None, {self._input.name: given})[0]
        return np.asarray(answer, dtype=np.float32)


def _providers(args: Mapping[str, str]) -> list[object]:
    available = onnxruntime.get_available_providers()
    if args.get("model_instance_kind") == "GPU" and "CUDAExecutionProvider" in available:
        device = {"device_id": args.get("model_instance_device_id", "0")}
        return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
