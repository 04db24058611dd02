"""What `platemill.serving.probe` is asked for: its own module, for it is made where no torch is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What to run.

    repository: an assembled model repository.
    configs: the models' configs by name, as Triton gives them.
    names: what to call the files of `detector`, `stn` and `reader`.
    photo: an image file without loss.
    boxes: where plates are in it, if that is known: xmin, ymin, xmax, ymax.
    """

    repository: str
    configs: Mapping[str, Any]
    names: Mapping[str, str]
    photo: str
    boxes: list[list[float]]
