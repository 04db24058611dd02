"""The whole recognition of many images in one process: what ``plate_recognition`` does for one.

The networks are given, so nothing here needs torch. A network gives a row the same answer whatever
it is batched with (docs/adr/0014), so an image's reading does not depend on the others either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from platemill.serving.reading import PlateReading
from platemill.vision.confirm import confirmed
from platemill.vision.crops import prepare_crops
from platemill.vision.ctc import decode
from platemill.vision.detector import prepare, select
from platemill.vision.profile import Profile

__all__ = ["Candidates", "Network", "Pipeline"]

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 [N, ...] to float32 [N, ...]; a row's answer does not depend on its neighbours."""


@dataclass(frozen=True)
class Candidates:
    """What may be plates in one image, N of them, the best first.

    crops: float32 [N, 3, h, w], prepared for the stn.
    boxes: float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the image.
    scores: float32 [N], 0 to 1.
    """

    crops: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class Pipeline:
    """Finds what may be plates in images, and reads the candidates of many at once.

    An image's pixels are not needed any more once it was looked at: what is kept of it are crops.

    Args:
        detect: float32 [N, 3, h, w], channels last in memory, to the profile's output form.
        straighten: crops to crops.
        read: crops to logits.
        profile: sizes, thresholds, and the plates' format.
    """

    def __init__(
        self, detect: Network, straighten: Network, read: Network, profile: Profile
    ) -> None:
        self._detect = detect
        self._straighten = straighten
        self._read = read
        self._profile = profile

    def look(self, images: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """Find what may be plates in images, uint8 [H, W, 3] in BGR, of any sizes.

        Those that the network sees in the same size are given to it together.

        Raises:
            ValueError: an image is none.
        """
        profile = self._profile
        prepared = [prepare(image, profile.detector) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, (tensor, _) in enumerate(prepared):
            groups.setdefault(tensor.shape, []).append(place)
        answers: dict[int, NDArray[np.float32]] = {}
        for places in groups.values():
            batch = [prepared[place][0] for place in places]
            answers |= zip(places, self._detect(_stacked(batch)), strict=True)
        seen = []
        for place, image in enumerate(images):
            letterbox = prepared[place][1]
            plates = select(answers[place], letterbox, profile.detector.weakest)
            crops = prepare_crops(image, plates, profile.crop)
            seen.append(Candidates(crops, plates.boxes, plates.scores))
        return seen

    def read(self, seen: Sequence[Candidates]) -> list[PlateReading]:
        """Read the candidates of many images together, and keep those that are plates."""
        if not seen:
            return []
        profile = self._profile
        crops = np.concatenate([candidates.crops for candidates in seen])
        found = []
        if len(crops):
            logits = self._read(self._straighten(crops))
            found = decode(logits, profile.reader, profile.grammar)
        readings, start = [], 0
        for candidates in seen:
            own = found[start : start + len(candidates.boxes)]
            start += len(own)
            kept = confirmed(candidates.scores, own, profile.detector)
            plates = [reading for reading, is_plate in zip(own, kept, strict=True) if is_plate]
            readings.append(
                PlateReading(
                    boxes=candidates.boxes[kept],
                    texts=[reading.plate for reading in plates],
                    raw_texts=[reading.raw_text for reading in plates],
                    confidences=np.array([r.confidence for r in plates], np.float32),
                    detection_scores=candidates.scores[kept],
                )
            )
        return readings

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[PlateReading]:
        """Recognise images of any sizes."""
        return self.read(self.look(images))


def _stacked(tensors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Tensors [1, 3, h, w] as one [N, 3, h, w], channels last in memory as they are."""
    if len(tensors) == 1:
        return tensors[0]
    rows = [tensor.transpose(0, 2, 3, 1) for tensor in tensors]
    return np.concatenate(rows).transpose(0, 3, 1, 2)
