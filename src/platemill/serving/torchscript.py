"""TorchScript networks as Triton's models run them: threads, precision, batches.

Runs in Triton's environment, where torch is. A row's result must not depend on its neighbours, and
dynamic batching changes them from one night to the next. On a processor the last bits of a
convolution may depend on the batch's size, so a network sees only sizes that were seen to agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from platemill.serving.batches import in_batches, sizes_that_agree
from platemill.serving.contracts import MAX_ROWS

__all__ = [
    "MARK_FILE",
    "PRECISIONS",
    "THREADS_VARIABLE",
    "Mark",
    "Network",
    "multiplies_bf16",
    "precision_for",
    "threads_for",
]

THREADS_VARIABLE = "MODEL_THREADS"
"""Variable of the server's environment: threads of one model, if its config does not say."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a network may calculate in, by the name that a config's ``PRECISION`` has."""

MARK_FILE = "platemill.json"
"""Extra file of a TorchScript archive: its `Mark`."""

_AUTO = "auto"
_PLAIN = torch.contiguous_format
_WARMING_RUNS = 3  # torch.jit optimises during the first runs of a shape


@dataclass(frozen=True)
class Mark:
    """What a TorchScript file says of itself: how far it may be converted when it is loaded.

    A network with a mark casts between its own layers; one without, a user's own, is run as it is.

    precisions: those it may be run in.
    kept: beginnings of the names of parameters that stay in fp32 in any of them.
    """

    precisions: Sequence[str] = ()
    kept: Sequence[str] = ()

    def to_json(self) -> str:
        """The mark as the archive's file holds it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Mark:
        """The mark of an archive; an empty file stands for none."""
        return cls(**json.loads(text)) if text else cls()


def _parameter(config: Mapping[str, Any], key: str) -> str | None:
    parameters = config.get("parameters", {})
    return str(parameters[key]["string_value"]) if key in parameters else None


def threads_for(config: Mapping[str, Any]) -> int:
    """Threads that a model may use: its config's ``THREADS``, the server's, else one.

    On some processors the last bits of an answer depend on the threads (docs/adr/0061), so a number
    that followed the cores would make a photo's result depend on the machine's size.

    Args:
        config: the model's configuration as Triton gives it, parsed from JSON.
    """
    given = _parameter(config, "THREADS") or os.environ.get(THREADS_VARIABLE)
    return max(1, int(given)) if given else 1


def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 natively; without it bf16 is ten times slower."""
    # oneDNN says yes to every AVX-512 processor, and imitates what it lacks.
    return bool(torch.cpu._is_avx512_bf16_supported())


def precision_for(config: Mapping[str, Any], offered: Sequence[str], *, on_gpu: bool) -> str:
    """The precision that a network calculates in: its config's ``PRECISION``, else the fastest.

    Args:
        config: the model's configuration as Triton gives it, parsed from JSON.
        offered: the precisions that the file may be converted to; with any other it stays fp32.
        on_gpu: whether the network runs on a GPU.

    Raises:
        ValueError: the config names a precision that there is not.
    """
    wanted = _parameter(config, "PRECISION") or _AUTO
    if wanted not in (_AUTO, *PRECISIONS):
        raise ValueError(
            f"PRECISION of model {config.get('name')} is {wanted!r}: set it to "
            f"{', '.join((_AUTO, *PRECISIONS))}"
        )
    if wanted == _AUTO:
        wanted = "fp16" if on_gpu else "bf16" if multiplies_bf16() else "fp32"
    return wanted if wanted in offered else "fp32"


class Network:
    """A TorchScript file on one device, run without gradients, the same way every time.

    `str()` of it says where and how it runs.
    """

    def __init__(self, path: Path, args: Mapping[str, str]) -> None:
        """Load the file and set torch's threads for this process.

        Args:
            path: the TorchScript file.
            args: what Triton hands to ``TritonPythonModel.initialize``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the config names a precision that there is not.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"model {args['model_name']} has no weights at {path}: train and export them, "
                "or check out the repository with its weights"
            )
        config = json.loads(args["model_config"])
        self.threads = threads_for(config)
        torch.set_num_threads(self.threads)
        on_gpu = args.get("model_instance_kind") == "GPU" and torch.cuda.is_available()
        self.device = torch.device(
            f"cuda:{args.get('model_instance_device_id', '0')}" if on_gpu else "cpu"
        )
        if on_gpu:  # the same convolution every time, not the fastest of the moment
            torch.backends.cudnn.deterministic = True
        fixed = _parameter(config, "ROWS_AT_ONCE")
        self.sizes: tuple[int, ...] = (int(fixed),) if fixed else (1,)
        files: dict[str, str | bytes] = {MARK_FILE: ""}
        module = torch.jit.load(str(path), map_location=self.device, _extra_files=files)
        mark = Mark.from_json(files[MARK_FILE])
        self.precision = precision_for(config, mark.precisions, on_gpu=on_gpu)
        self._format = torch.channels_last if mark.precisions else _PLAIN
        self._module = _ready(module, mark, PRECISIONS[self.precision])
        self._sizes_are_fixed = fixed is not None

    def __str__(self) -> str:
        where = str(self.device) if self.device.type == "cuda" else f"{self.threads} threads"
        rows = ", ".join(str(size) for size in self.sizes)
        return f"{self.precision}, {where}, batches of {rows}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on the batch just as it is; float32 in and, contiguous, out."""
        if torch.get_num_threads() != self.threads:  # another network of this process has others
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            given = torch.from_numpy(batch).to(self.device)
            given = given.contiguous(memory_format=self._format if batch.ndim == 4 else _PLAIN)
            result = self._module(given)
            if isinstance(result, tuple | list):  # YOLOv5's export gives a tuple
                result = result[0]
        array: NDArray[np.float32] = result.float().cpu().contiguous().numpy()
        return array

    def find_sizes(self, row_shape: tuple[int, ...]) -> None:
        """Find the batch sizes that `rows` may use, unless the config's ``ROWS_AT_ONCE`` says one.

        The network is warm afterwards. Without this call `rows` gives it one row at a time.

        Args:
            row_shape: the shape of one row of the input.
        """
        if not self._sizes_are_fixed:
            self.sizes = sizes_that_agree(self, row_shape, MAX_ROWS)
        for size in self.sizes:
            for _ in range(_WARMING_RUNS):
                self(np.zeros((size, *row_shape), np.float32))

    def rows(self, batch: NDArray[np.float32], row_shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Run any number of rows, each independently of its neighbours to the last bit.

        Args:
            batch: float32 [N, ...]; N may be 0.
            row_shape: the shape of one row of the output.
        """
        return in_batches(self, batch, self.sizes, row_shape)


def _ready(module: Any, mark: Mark, dtype: torch.dtype) -> Any:
    """The module as it is run: converted and frozen if it has a mark, else as it came."""
    if hasattr(module, "training"):  # a frozen module has no mode left to set
        module.eval()
    if mark.precisions:
        for name, value in module.named_parameters():
            if not name.startswith(tuple(mark.kept)):
                value.data = value.data.to(dtype)
        return torch.jit.freeze(module.to(memory_format=torch.channels_last))
    # Not optimize_for_inference: it breaks some networks (a three-dimensional pooling of LPRNet).
    return module
