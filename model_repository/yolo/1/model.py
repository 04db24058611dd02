"""Finds the plates of an image and prepares their crops: an image in, crops and boxes out.

A request with the parameter ``weakest`` is also answered with the candidates that are plates only
if they can be read.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from platemill.serving.networks import open_detector
from platemill.vision.crops import prepare_crops
from platemill.vision.detector import prepare, select
from platemill.vision.profile_file import served_profile


class TritonPythonModel:
    """The detector, with its pre- and post-processing from ``platemill.vision``."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights and run them, so that the first request is as fast as the rest."""
        # OpenCV's pool would fight torch's for the cores; resizing one image needs none.
        cv2.setNumThreads(1)
        folder = Path(args["model_repository"]) / args["model_version"]
        self.profile = served_profile(folder)
        self.network = open_detector(folder, args)
        for _ in range(3):  # torch.jit optimises during the first runs
            self.network(prepare(np.zeros((360, 640, 3), np.uint8), self.profile.detector)[0])
        pb_utils.Logger.log_info(f"{args['model_name']}: {self.network}")

    def execute(self, requests: list) -> list:
        """Answer each request by itself: images differ in size."""
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        """One image; an image that is none gives an error, not an empty answer."""
        image = pb_utils.get_input_tensor_by_name(request, "input__0").as_numpy()
        try:
            tensor, letterbox = prepare(image, self.profile.detector)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        weakest = json.loads(request.parameters() or "{}").get("weakest", False)
        detector = self.profile.detector.weakest if weakest else self.profile.detector
        plates = select(self.network(tensor)[0], letterbox, detector)
        # A tensor that is not contiguous would arrive empty, without an error.
        outputs = {
            "output__0": np.ascontiguousarray(prepare_crops(image, plates, self.profile.crop)),
            "output__1": np.ascontiguousarray(plates.boxes, np.float32),
            "output__2": np.ascontiguousarray(plates.scores.reshape(-1, 1), np.float32),
        }
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, array) for name, array in outputs.items()]
        )
