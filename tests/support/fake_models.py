"""A model repository that a real Triton serves in seconds: the four models' names, no networks.

``plate_recognition`` answers what ``plates_in`` says of an image's first pixel, so that a test
knows every plate beforehand, and so does ``plate_bulk``, if it is wanted. The other three are there
because a whole repository has them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["PLATES", "first_pixel", "plates_in", "write_fake_bulk", "write_fake_models"]

PLATES = 24
"""How many plates there are in the fake world."""

_PROJECT = Path(__file__).parents[2]
_CODE = '''"""Plates by the first pixel: blue says how many, green which."""

import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """An image in; boxes, texts and scores out."""

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """One image."""
        time.sleep(SECONDS)
        image = pb_utils.get_input_tensor_by_name(request, "input__0").as_numpy()
        blue, green = int(image[0, 0, 0]), int(image[0, 0, 1])
        count = blue % 3
        texts = [b"A%03dBC%02d" % ((green + n) % PLATES, 77) for n in range(count)]
        shares = np.array([[0.5 + green / 1024]] * count, np.float32).reshape(-1, 1)
        boxes = np.array([[n, n, n + 8, n + 4] for n in range(count)], np.float32).reshape(-1, 4)
        column = np.array(texts, np.object_).reshape(-1, 1)
        outputs = {
            "coordinates": boxes,
            "texts": column,
            "raw_texts": column,
            "confidences": shares,
            "detection_scores": shares,
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in outputs.items()])
'''.replace("PLATES", str(PLATES))
_BULK = '''"""Plates by the first pixel of each image, which comes encoded."""

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Many images in; boxes, texts and scores of all of them out."""

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Many images."""
        files = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
        seen = [self.look(cv2.imdecode(np.frombuffer(f, np.uint8), 1)) for f in files]
        texts = np.array([t for _, _, ts, _ in seen for t in ts], np.object_).reshape(-1, 1)
        shares = np.array([s for _, _, ts, s in seen for _ in ts], np.float32).reshape(-1, 1)
        boxes = [[n, n, n + 8, n + 4] for _, _, ts, _ in seen for n in range(len(ts))]
        outputs = {
            "plates": np.array([len(ts) for _, _, ts, _ in seen], np.int32),
            "sizes": np.array([(w, h) for w, h, _, _ in seen], np.int32),
            "coordinates": np.array(boxes, np.float32).reshape(-1, 4),
            "texts": texts,
            "raw_texts": texts,
            "confidences": shares,
            "detection_scores": shares,
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in outputs.items()])

    def look(self, image):
        """One image."""
        blue, green = int(image[0, 0, 0]), int(image[0, 0, 1])
        texts = [b"A%03dBC%02d" % ((green + n) % PLATES, 77) for n in range(blue % 3)]
        return image.shape[1], image.shape[0], texts, 0.5 + green / 1024
'''.replace("PLATES", str(PLATES))
_ECHO = '''"""Not asked by anybody."""


class TritonPythonModel:
    """Refuses."""

    def execute(self, requests):
        """Never called."""
        raise NotImplementedError
'''
_ECHO_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "input__0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "output__0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
"""


def first_pixel(plates: int, which: int) -> tuple[int, int]:
    """Blue and green of a first pixel that stands for so many plates, beginning with that one."""
    return plates, which


def plates_in(blue: int, green: int) -> list[str]:
    """The plates that the fake model reads in an image by its first pixel."""
    return [f"A{(green + number) % PLATES:03d}BC77" for number in range(blue % 3)]


def write_fake_models(folder: Path, seconds: float = 0.0) -> Path:
    """Write the repository; returns its folder. ``seconds``: how long an image takes at least."""
    for name in ("lprnet", "stn", "yolo"):
        _write(folder / name, _ECHO_CONFIG.format(name=name), _ECHO)
    _write(folder / "plate_recognition", "", _CODE.replace("SECONDS", repr(seconds)))
    real = _PROJECT / "model_repository" / "plate_recognition" / "config.pbtxt"
    shutil.copyfile(real, folder / "plate_recognition" / "config.pbtxt")
    return folder


def write_fake_bulk(folder: Path) -> Path:
    """Write ``plate_bulk`` beside the four; returns its folder."""
    model = folder / "plate_bulk"
    _write(model, "", _BULK)
    shutil.copyfile(
        _PROJECT / "model_repository" / model.name / "config.pbtxt", model / "config.pbtxt"
    )
    return model


def _write(folder: Path, config: str, code: str) -> None:
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)
