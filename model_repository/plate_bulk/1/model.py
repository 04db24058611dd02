"""Reads the plates of many encoded images: what ``plate_recognition`` answers for each of them.

An image that gives trouble here, whatever it is, is answered with -1 plates; asked alone
(``plate_recognition``), it says what the trouble is, and it troubles nobody else.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from platemill.archive.decode import decode_image
from platemill.serving.networks import open_pipeline

NOT_ANSWERED = -1
MOST_PIXELS = 100_000_000


class TritonPythonModel:
    """The three networks in one process, from the encoded image to its texts."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights of the models beside this one."""
        # OpenCV's pool would fight the other instances for the cores.
        cv2.setNumThreads(1)
        self.pipeline, how = open_pipeline(Path(args["model_repository"]).parent, args)
        pb_utils.Logger.log_info(f"{args['model_name']}: {how}")

    def execute(self, requests: list) -> list:
        """Answer each request by itself: it holds many images already."""
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        """So many plates, and so large, is each image; then all plates one after another."""
        images = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
        most = int(json.loads(request.parameters() or "{}").get("max_pixels", MOST_PIXELS))
        plates = np.full(len(images), NOT_ANSWERED, np.int32)
        sizes = np.zeros((len(images), 2), np.int32)
        seen, places = [], []
        for place, data in enumerate(images):
            try:
                pixels = decode_image(data, most)
                (candidates,) = self.pipeline.look([pixels])
            except Exception as error:
                pb_utils.Logger.log_verbose(f"an image is not answered: {error!r}")
                continue
            sizes[place] = pixels.shape[1], pixels.shape[0]
            seen.append(candidates)
            places.append(place)
        try:
            readings = self.pipeline.read(seen)
        except Exception as error:
            # Not said of the request: who asks then asks for each image alone.
            pb_utils.Logger.log_warn(f"{len(seen)} images are not answered: {error!r}")
            readings = []
        for place, reading in zip(places, readings, strict=False):
            plates[place] = len(reading)
        outputs = {
            "plates": plates,
            "sizes": sizes,
            "coordinates": joined([r.boxes for r in readings], (0, 4)),
            "texts": texts([text for r in readings for text in r.texts]),
            "raw_texts": texts([text for r in readings for text in r.raw_texts]),
            "confidences": joined([r.confidences[:, None] for r in readings], (0, 1)),
            "detection_scores": joined([r.detection_scores[:, None] for r in readings], (0, 1)),
        }
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, array) for name, array in outputs.items()]
        )


def joined(arrays: list, shape: tuple[int, int]) -> np.ndarray:
    """Arrays one after the other, float32 and contiguous; of that shape if there are none."""
    return np.ascontiguousarray(np.concatenate([np.empty(shape, np.float32), *arrays]), np.float32)


def texts(values: list[str]) -> np.ndarray:
    """Texts as a column [N, 1]; N may be 0."""
    return np.array([value.encode() for value in values], np.object_).reshape(-1, 1)
