"""What is known of the plates in a picture: boxes, corners, lines."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.vision.detector import corners_of

_WHOLE = 0.97
_MOSTLY = 0.65
_HARDLY = 0.02
_CLOCKWISE_WHEN_MIRRORED = [1, 0, 3, 2]


@dataclass(frozen=True)
class Labels:
    """The plates of one picture; all in its pixels.

    boxes: float32 [N, 4], xmin, ymin, xmax, ymax.
    corners: float32 [N, 4, 2], x and y of the face's top left, top right, bottom right and
        bottom left corner; NaN where they are not known.
    two_lines: bool [N], written in two lines; of no meaning where corners are not known.
    ignored: bool [N], plates that should neither be found nor be missed, such as cut ones.
    """

    boxes: NDArray[np.float32]
    corners: NDArray[np.float32]
    two_lines: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of_boxes(cls, boxes: NDArray[np.float32]) -> Labels:
        """Plates of which only the boxes [N, 4] are known."""
        count = len(boxes)
        return cls(
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            corners=np.full((count, 4, 2), np.nan, np.float32),
            two_lines=np.zeros(count, np.bool_),
            ignored=np.zeros(count, np.bool_),
        )

    @classmethod
    def of_quads(cls, quads: NDArray[np.float32], two_lines: NDArray[np.bool_]) -> Labels:
        """Plates whose corners [N, 4, 2] are known: the boxes are their hulls."""
        corners = np.asarray(quads, np.float32).reshape(-1, 4, 2)
        return cls(hulls(corners), corners, two_lines, np.zeros(len(corners), np.bool_))

    def known(self) -> NDArray[np.bool_]:
        """Whose corners are known: bool [N]."""
        return np.asarray(np.isfinite(self.corners).all(axis=(1, 2)))

    def of(self, chosen: NDArray[np.bool_]) -> Labels:
        """The plates that `chosen` [N] names."""
        return Labels(
            self.boxes[chosen], self.corners[chosen], self.two_lines[chosen], self.ignored[chosen]
        )

    def joined(self, other: Labels) -> Labels:
        """These plates, then the other's."""
        return Labels(
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.corners, other.corners]),
            np.concatenate([self.two_lines, other.two_lines]),
            np.concatenate([self.ignored, other.ignored]),
        )

    def shifted(self, x: float, y: float) -> Labels:
        """The labels after the picture's origin moved by (-x, -y)."""
        move = np.array([x, y], np.float32)
        return replace(self, boxes=self.boxes + np.tile(move, 2), corners=self.corners + move)

    def mapped(self, matrix: NDArray[np.float64]) -> Labels:
        """The labels after the picture went through a perspective map [3, 3].

        A plate of which only the box is known gets the hull of its mapped box.
        """
        if not len(self):
            return self
        upright = corners_of(self.boxes)
        known = self.known()
        quads = np.where(known[:, None, None], self.corners, upright).astype(np.float32)
        moved = cv2.perspectiveTransform(quads.reshape(1, -1, 2), matrix).reshape(-1, 4, 2)
        moved = moved.astype(np.float32)
        turned = float(np.linalg.det(matrix[:2, :2])) < 0
        ordered = moved[:, _CLOCKWISE_WHEN_MIRRORED] if turned else moved
        corners = np.where(known[:, None, None], ordered, np.float32(np.nan))
        return replace(self, boxes=hulls(moved), corners=corners)

    def within(self, width: int, height: int) -> Labels:
        """The labels in a picture of this size, which may cut them.

        Boxes are clipped; a plate that is cut has no known corners, one that is cut by a
        third is ignored, and one that is outside is gone.
        """
        size = np.array([width, height, width, height], np.float32)
        clipped = np.clip(self.boxes, 0, size)
        share = _area(clipped) / np.maximum(_area(self.boxes), 1e-6)
        corners = np.where((share > _WHOLE)[:, None, None], self.corners, np.float32(np.nan))
        cut = Labels(clipped, corners, self.two_lines, self.ignored | (share < _MOSTLY))
        return cut.of(share > _HARDLY)


def hulls(quads: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upright boxes [N, 4] around quads [N, 4, 2]."""
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1).astype(np.float32)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), dtype=np.float32)
