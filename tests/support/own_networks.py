"""Small networks such as a user could bring, and a photo that they understand.

The detector finds red: a cell of 32 x 32 input pixels that is red through and through has a plate
of 96 x 32 pixels at its middle. The stn turns a crop's colours round. The reader spells AB12 where
it sees a crop with more red than blue, and CD34 elsewhere.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHABET", "STEPS", "photo", "write_onnx", "write_torchscript"]

SIDE = 320
CELLS = SIDE // 32
ALPHABET = "ABCD1234"
STEPS = 8

_TORCH = """
import sys
import torch
from torch import nn

side, steps, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
cells = side // 32
middles = (torch.arange(cells) * 32 + 16).float()
y, x = torch.meshgrid(middles, middles, indexing="ij")
wide, high = torch.full_like(x, 96.0), torch.full_like(x, 32.0)
grid = torch.stack([x, y, wide, high]).reshape(1, 4, -1)

class Yolov8(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("grid", grid)
    def forward(self, images):
        red = images[:, :1] - images[:, 1:2] - images[:, 2:]
        score = nn.functional.avg_pool2d(red.relu(), 32).flatten(2)
        return torch.cat([self.grid, score], 1)

class Yolov5(Yolov8):
    def forward(self, images):
        found = super().forward(images).permute(0, 2, 1)
        return (torch.cat([found, torch.ones_like(found[:, :, :1])], 2), found)

class Turn(nn.Module):
    def forward(self, crops):
        return -crops.view(crops.shape[0], -1).view(crops.shape)

class Reader(nn.Module):
    def __init__(self, blank_first=True, classes=9):
        super().__init__()
        for name, path in (("red", [1, 2, 0, 5, 6]), ("blue", [3, 4, 0, 7, 8])):
            logits = torch.zeros(classes, steps)
            logits[0, len(path):] = 12.0
            for step, label in enumerate(path):
                logits[label, step] = 12.0
            self.register_buffer(name, logits)
    def forward(self, crops):
        is_red = (crops[:, 0].mean([1, 2]) > crops[:, 2].mean([1, 2])).float()[:, None, None]
        return is_red * self.red + (1 - is_red) * self.blue

class OneRow(Reader):
    def forward(self, crops):
        return super().forward(crops.reshape(1, 3, 32, 64))

image, crop = torch.zeros(1, 3, side, side), torch.zeros(2, 3, 32, 64)
for name, net, example in (
    ("yolov8", Yolov8(), image),
    ("yolov5", Yolov5(), image),
    ("stn", Turn(), crop),
    ("reader", Reader(), crop),
    ("reader_of_12", Reader(classes=12), crop),
    ("reader_of_one", OneRow(), crop[:1]),
):
    torch.jit.trace(net, example, check_trace=False).save(f"{folder}/{name}.pt")
torch.save({"net_state_dict": Reader().state_dict()}, f"{folder}/checkpoint.pt")
"""


def write_torchscript(folder: Path, python: Path) -> None:
    """Write ``yolov8, yolov5, stn, reader, reader_of_12, reader_of_one`` and a ``checkpoint``.

    Args:
        folder: where the ``.pt`` files go.
        python: interpreter of Triton's environment, where torch is.
    """
    subprocess.run(
        [str(python), "-c", _TORCH, str(SIDE), str(STEPS), str(folder)], check=True, timeout=120
    )


def write_onnx(path: Path, *, classes: int = 1) -> None:
    """Write the same detector in YOLOv8's form as ONNX, of an input of 320 x 320 alone."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    middles = np.arange(CELLS, dtype=np.float32) * 32 + 16
    y, x = np.meshgrid(middles, middles, indexing="ij")
    grid = np.stack([x, y, np.full_like(x, 96), np.full_like(x, 32)]).reshape(1, 4, -1)
    red = np.array([1, -1, -1], np.float32).reshape(1, 3, 1, 1)
    constants = {"grid": grid, "red": np.repeat(red, classes, 0), "flat": [1, classes, -1]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "red"], ["redness"]),
            helper.make_node("Relu", ["redness"], ["positive"]),
            helper.make_node(
                "AveragePool", ["positive"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]
            ),
            helper.make_node("Reshape", ["cells", "flat"], ["scores"]),
            helper.make_node("Concat", ["grid", "scores"], ["output0"], axis=1),
        ],
        "finds_red",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(
                "output0", TensorProto.FLOAT, [1, 4 + classes, CELLS * CELLS]
            )
        ],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def photo(*cells: tuple[int, int]) -> NDArray[np.uint8]:
    """A grey photo, uint8 [320, 640, 3] BGR, with red where plates are.

    Args:
        cells: column and row of cells of the input that the photo is fitted into: half its size,
            with 80 rows of padding above it.
    """
    image = np.full((SIDE, 2 * SIDE, 3), 90, np.uint8)
    for column, row in cells:
        top, left = 2 * (32 * row - SIDE // 4), 64 * column
        image[top : top + 64, left : left + 64] = (0, 0, 255)
    return image
