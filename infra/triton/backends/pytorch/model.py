"""Triton's ``pytorch`` backend, in Python: serves ``model.pt`` of every model that names it.

Triton takes a folder of its backend directory that holds a ``model.py`` as a backend of that name.
The server that platemill embeds has no native libtorch backend; where there is one, as in the
official image, this folder is left out and the same model repository is served by it unchanged.
"""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from platemill.serving.torchscript import Network


class TritonPythonModel:
    """One TorchScript model: one input, one output, the batch in front."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights and run them, so that the first request is as fast as the rest."""
        config = json.loads(args["model_config"])
        self.input_name = config["input"][0]["name"]
        self.output_name = config["output"][0]["name"]
        self.output_shape = tuple(int(size) for size in config["output"][0]["dims"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self.network = Network(folder / "model.pt", args)
        self.network.find_sizes(tuple(int(size) for size in config["input"][0]["dims"]))
        pb_utils.Logger.log_info(f"{args['model_name']}: {self.network}")

    def execute(self, requests: list) -> list:
        """Answer the requests that Triton batched, together."""
        arrays = [
            pb_utils.get_input_tensor_by_name(request, self.input_name).as_numpy()
            for request in requests
        ]
        answers = self.network.rows(np.concatenate(arrays), self.output_shape)
        responses, start = [], 0
        for array in arrays:
            rows = np.ascontiguousarray(answers[start : start + len(array)])
            start += len(array)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(self.output_name, rows)]))
        return responses
