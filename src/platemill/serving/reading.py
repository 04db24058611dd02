"""What the served pipeline answers for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlateReading"]


@dataclass(frozen=True)
class PlateReading:
    """The plates of one image, N of them, the surest box first; N is 0 without a plate.

    boxes: float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the image.
    texts: N well-formed plates; "" where what was read is none.
    raw_texts: N texts as they were read, before the format was applied.
    confidences: float32 [N], of the texts, 0 to 1.
    detection_scores: float32 [N], of the boxes, 0 to 1.
    """

    boxes: NDArray[np.float32]
    texts: list[str]
    raw_texts: list[str]
    confidences: NDArray[np.float32]
    detection_scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.texts)
