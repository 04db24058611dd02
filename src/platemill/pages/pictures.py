"""Photos and details of them, small enough for a page that carries its pictures in itself."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["crop", "data_url", "jpeg", "shrunk"]

Box = tuple[float, float, float, float]

_CROP_MARGIN = 0.15


def shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image whose longer side is at most ``side`` pixels; uint8 [h, w, 3]."""
    height, width = image.shape[:2]
    scale = side / max(width, height)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop(
    image: NDArray[np.uint8], box: Box, *, height: int, most: int, margin: float = _CROP_MARGIN
) -> NDArray[np.uint8]:
    """A box of an image with a margin, enlarged or shrunk.

    Args:
        image: uint8 [H, W, 3].
        box: xmin, ymin, xmax, ymax in pixels; it may lie outside in part, or wholly.
        height: of the result in pixels, unless it would be wider than ``most``.
        most: the largest width in pixels.
        margin: on each side, a share of the box's width.

    Returns:
        uint8 [h, w, 3], at least a pixel.
    """
    tall, wide = image.shape[:2]
    extra = margin * (box[2] - box[0])
    left, top = max(0, int(box[0] - extra)), max(0, int(box[1] - extra))
    right, bottom = min(wide, int(box[2] + extra) + 1), min(tall, int(box[3] + extra) + 1)
    left, top = min(left, wide - 1), min(top, tall - 1)
    part: Any = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = min(height / part.shape[0], most / part.shape[1])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, size, interpolation=method), np.uint8)


def jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """An image as JPEG, without any metadata."""
    ok, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return packed.tobytes()


def data_url(packed: bytes) -> str:
    """JPEG bytes as an address that a page can hold."""
    return "data:image/jpeg;base64," + base64.b64encode(packed).decode("ascii")
