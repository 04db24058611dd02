"""TorchScript networks as Triton's models run them: threads, loading, fixed batches.

Runs in Triton's environment, where torch is. A row's result must not depend on its neighbours, and
dynamic batching changes them from one night to the next. On a CPU the last bits of a convolution
do depend on the batch's size, so a network always sees batches of one fixed size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from platemill.serving.batches import in_fixed_batches

__all__ = ["ROWS_AT_ONCE", "THREADS_VARIABLE", "Network", "threads_for"]

THREADS_VARIABLE = "MODEL_THREADS"
"""Variable of the server's environment: threads of one model, if its config does not say."""

ROWS_AT_ONCE = 2
"""Rows that a network sees at a time on a CPU, if its config does not say (docs/adr/0012)."""

_ROWS_AT_ONCE_GPU = 32
_MOST_THREADS = 4  # the networks are small: more threads than that only wait for each other


def _parameter(config: Mapping[str, object], key: str) -> str | None:
    parameters = config.get("parameters", {})
    if isinstance(parameters, Mapping) and key in parameters:
        return str(parameters[key]["string_value"])
    return None


def threads_for(config: Mapping[str, object]) -> int:
    """Threads that a model may use: its config's ``THREADS``, the server's variable, the cores.

    Args:
        config: the model's configuration as Triton gives it, parsed from JSON.
    """
    given = _parameter(config, "THREADS") or os.environ.get(THREADS_VARIABLE)
    return max(1, int(given)) if given else min(len(os.sched_getaffinity(0)), _MOST_THREADS)


class Network:
    """A TorchScript file on one device, run without gradients, the same way every time."""

    def __init__(self, path: Path, args: Mapping[str, str]) -> None:
        """Load the file and set torch's threads for this process.

        Args:
            path: the TorchScript file.
            args: what Triton hands to ``TritonPythonModel.initialize``.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"model {args['model_name']} has no weights at {path}: train and export them, "
                "or check out the repository with its weights"
            )
        config = json.loads(args["model_config"])
        torch.set_num_threads(threads_for(config))
        on_gpu = args.get("model_instance_kind") == "GPU" and torch.cuda.is_available()
        self.device = torch.device(
            f"cuda:{args.get('model_instance_device_id', '0')}" if on_gpu else "cpu"
        )
        default = _ROWS_AT_ONCE_GPU if on_gpu else ROWS_AT_ONCE
        self.rows_at_once = int(_parameter(config, "ROWS_AT_ONCE") or default)
        module = torch.jit.load(str(path), map_location=self.device)
        if hasattr(module, "training"):  # a frozen module has no mode left to set
            module.eval()
        self._module = module if on_gpu else torch.jit.optimize_for_inference(module)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on the batch just as it is; contiguous float32 in and out."""
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
            result = self._module(given).float().cpu().contiguous()
        array: NDArray[np.float32] = result.numpy()
        return array

    def rows(self, batch: NDArray[np.float32], row_shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Run any number of rows, each independently of its neighbours to the last bit.

        Args:
            batch: float32 [N, ...]; N may be 0.
            row_shape: the shape of one row of the output.
        """
        return in_fixed_batches(self, batch, self.rows_at_once, row_shape)
