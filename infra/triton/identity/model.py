"""Returns its input: stands for ``stn`` where a profile has none."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One input, one output of the same type and shape."""

    def initialize(self, args: dict[str, str]) -> None:
        """Learn the tensors' names."""
        config = json.loads(args["model_config"])
        self.input_name = config["input"][0]["name"]
        self.output_name = config["output"][0]["name"]

    def execute(self, requests: list) -> list:
        """Answer each request with what it brought."""
        arrays = [
            pb_utils.get_input_tensor_by_name(request, self.input_name).as_numpy()
            for request in requests
        ]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(self.output_name, np.ascontiguousarray(array))]
            )
            for array in arrays
        ]
