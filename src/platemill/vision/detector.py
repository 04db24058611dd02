"""Before and after the detector network: letterboxing an image, choosing its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

INPUT_LONG_SIDE = 640
"""Long side, in pixels, that a larger image is shrunk to before the network sees it."""

STRIDE = 32
"""The network's input sides are multiples of this."""

SCORE_THRESHOLD = 0.5
"""Default score from which a candidate counts as a plate."""

IOU_THRESHOLD = 0.3
"""Default overlap above which the weaker of two candidates is dropped: plates never overlap."""

MAX_BOXES = 100
"""Most plates returned for one image."""

_PADDING = 114.0 / 255.0


@dataclass(frozen=True)
class Letterbox:
    """How an image was fitted into the network's input.

    The image lies in the input's top left corner; what remains is padding.
    `scale_x` and `scale_y` are input pixels per image pixel.
    """

    image_width: int
    image_height: int
    content_width: int
    content_height: int
    input_width: int
    input_height: int

    @property
    def scale_x(self) -> float:
        """Input pixels per image pixel, horizontally."""
        return self.content_width / self.image_width

    @property
    def scale_y(self) -> float:
        """Input pixels per image pixel, vertically."""
        return self.content_height / self.image_height


def fit(image_width: int, image_height: int, long_side: int = INPUT_LONG_SIDE) -> Letterbox:
    """Plan the letterbox of an image: shrunk to `long_side` if larger, never enlarged."""
    if image_width < 1 or image_height < 1:
        raise ValueError(f"an image needs at least one pixel, got {image_width}x{image_height}")
    scale = min(1.0, long_side / max(image_width, image_height))
    width = max(1, round(image_width * scale))
    height = max(1, round(image_height * scale))
    return Letterbox(
        image_width=image_width,
        image_height=image_height,
        content_width=width,
        content_height=height,
        input_width=-(-width // STRIDE) * STRIDE,
        input_height=-(-height // STRIDE) * STRIDE,
    )


def prepare(
    image: NDArray[np.uint8], long_side: int = INPUT_LONG_SIDE
) -> tuple[NDArray[np.float32], Letterbox]:
    """Turn an image into the network's input.

    Args:
        image: uint8 [H, W, 3] in BGR, as `cv2.imread` gives it, of any size from 1x1.
        long_side: pixels; larger images are shrunk to it by area averaging.

    Returns:
        float32 [1, 3, h, w] in RGB, 0 to 1, contiguous, h and w multiples of 32; and the
        letterbox that leads back to the image.

    Raises:
        ValueError: the array is not uint8 [H, W, 3] with at least one pixel.
    """
    require_image(image)
    box = fit(image.shape[1], image.shape[0], long_side)
    content: NDArray[Any] = image
    if (box.content_width, box.content_height) != (box.image_width, box.image_height):
        content = cv2.resize(
            image, (box.content_width, box.content_height), interpolation=cv2.INTER_AREA
        )
    tensor = np.full((1, 3, box.input_height, box.input_width), _PADDING, np.float32)
    planes = content[:, :, ::-1].transpose(2, 0, 1)
    np.multiply(
        planes,
        np.float32(1.0 / 255.0),
        out=tensor[0, :, : box.content_height, : box.content_width],
        dtype=np.float32,
    )
    return tensor, box


def require_image(image: NDArray[np.uint8]) -> None:
    """Raise ValueError unless `image` is uint8 [H, W, 3] with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "an image must be uint8 [H, W, 3] with at least one pixel, "
            f"got {image.dtype} {list(image.shape)}"
        )


def select(
    candidates: NDArray[np.float32],
    letterbox: Letterbox,
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose the plates among the network's candidates (greedy non-maximum suppression).

    Args:
        candidates: float32 [M, 5]: xmin, ymin, xmax, ymax in input pixels, and a score.
        letterbox: as `prepare` returned it.
        score_threshold: candidates below it are dropped.
        iou_threshold: of two candidates that overlap more, the weaker is dropped.

    Returns:
        Boxes, float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the image, clipped to it;
        and their scores, float32 [N]. The best comes first; equal scores go by position.
    """
    kept = candidates[candidates[:, 4] >= score_threshold].astype(np.float32)
    kept = kept[np.isfinite(kept).all(axis=1)]
    boxes = kept[:, :4].copy()
    boxes[:, 0::2] = np.clip(
        boxes[:, 0::2] / np.float32(letterbox.scale_x), 0, letterbox.image_width
    )
    boxes[:, 1::2] = np.clip(
        boxes[:, 1::2] / np.float32(letterbox.scale_y), 0, letterbox.image_height
    )
    scores = kept[:, 4]
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores = boxes[solid], scores[solid]
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1], -scores))
    chosen: list[int] = []
    while order.size and len(chosen) < MAX_BOXES:
        best, order = int(order[0]), order[1:]
        chosen.append(best)
        order = order[overlaps(boxes[best], boxes[order]) <= iou_threshold]
    index = np.asarray(chosen, dtype=np.intp)
    return np.ascontiguousarray(boxes[index]), np.ascontiguousarray(scores[index])


def overlaps(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of `box` [4] with each of `boxes` [N, 4]: float32 [N]."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area + areas - shared, 1e-9), dtype=np.float32)
