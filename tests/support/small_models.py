"""A model repository that starts in a second: one Python model that returns its input."""

from __future__ import annotations

from pathlib import Path

_CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 0
input [ { name: "input__0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "output__0" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""

_CODE = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([
                pb_utils.Tensor(
                    "output__0", pb_utils.get_input_tensor_by_name(r, "input__0").as_numpy()
                )
            ])
            for r in requests
        ]
"""


def write_echo(folder: Path, code: str = _CODE) -> Path:
    """Write the repository; returns its folder."""
    version = folder / "echo" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(_CONFIG)
    (version / "model.py").write_text(code)
    return folder
