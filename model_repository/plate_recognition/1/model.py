"""Reads the plates of an image: business-logic scripting over ``yolo``, ``stn`` and ``lprnet``."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from platemill.serving.contracts import MAX_ROWS
from platemill.vision.confirm import confirmed
from platemill.vision.ctc import decode
from platemill.vision.profile_file import served_profile


class TritonPythonModel:
    """An image in; boxes, texts and scores out, a row for every plate, none without a plate."""

    def initialize(self, args: dict[str, str]) -> None:
        """Learn what the reader's classes mean and which texts are published."""
        self.profile = served_profile(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list) -> list:
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        """One image. What fails in one of the three models fails here, with its message."""
        # The tensor is passed on as it lies in shared memory, without a copy.
        image = pb_utils.get_input_tensor_by_name(request, "input__0")
        try:
            crops, boxes, scores = ask(
                "yolo", image, ["output__0", "output__1", "output__2"], {"weakest": True}
            )
            logits = [
                self.read(crops[start : start + MAX_ROWS])
                for start in range(0, len(crops), MAX_ROWS)
            ]
        except ModelFailedError as failure:
            return pb_utils.InferenceResponse(error=failure.error)
        reader, grammar = self.profile.reader, self.profile.grammar
        found = decode(np.concatenate(logits), reader, grammar) if logits else []
        kept = confirmed(scores[:, 0], found, self.profile.detector)
        readings = [reading for reading, is_plate in zip(found, kept, strict=True) if is_plate]
        outputs = {
            "coordinates": boxes[kept],
            "texts": column([r.plate.encode() for r in readings], np.object_),
            "raw_texts": column([r.raw_text.encode() for r in readings], np.object_),
            "confidences": column([r.confidence for r in readings], np.float32),
            "detection_scores": scores[kept],
        }
        # A tensor that is not contiguous would arrive empty, without an error.
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(a)) for name, a in outputs.items()]
        )

    def read(self, crops: np.ndarray) -> np.ndarray:
        """Straighten and read at most 32 crops: float32 [N, 3, h, w] to logits [N, classes, T]."""
        (straight,) = ask("stn", pb_utils.Tensor("input__0", crops), ["output__0"])
        (logits,) = ask("lprnet", pb_utils.Tensor("input__0", straight), ["output__0"])
        return logits


class ModelFailedError(Exception):
    """One of the three models answered with this error."""

    def __init__(self, error: object) -> None:
        super().__init__(str(error))
        self.error = error


def ask(
    model: str, tensor: object, outputs: list[str], parameters: dict[str, bool] | None = None
) -> list[np.ndarray]:
    """Ask another model of this server; the outputs in the order they are named."""
    response = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=outputs,
        inputs=[tensor],
        parameters=parameters or {},
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    ).exec()
    if response.has_error():
        error = response.error()
        raise ModelFailedError(pb_utils.TritonError(f"{model}: {error.message()}", error.code()))
    # The array is a view of memory that goes with its response, so it is copied.
    return [
        pb_utils.get_output_tensor_by_name(response, name).as_numpy().copy() for name in outputs
    ]


def column(values: list, dtype: type) -> np.ndarray:
    """A list as an array [N, 1]; N may be 0."""
    return np.array(values, dtype).reshape(-1, 1)
