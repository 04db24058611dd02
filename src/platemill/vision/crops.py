"""The reader's input: plates cut out of the full-resolution image."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.vision.detector import require_image

CROP_WIDTH = 94
CROP_HEIGHT = 24

MARGIN_X = 0.03
MARGIN_Y = 0.08
"""Part of the box's side added on each side of it, so that a tight box cuts no character."""


def prepare_crops(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the boxes out of the image and scale them for the reader.

    Args:
        image: uint8 [H, W, 3] in BGR, at the full resolution it was sent with.
        boxes: [N, 4], xmin, ymin, xmax, ymax in pixels of the image; N may be 0.

    Returns:
        float32 [N, 3, 24, 94], contiguous, in RGB, `(x - 127.5) / 128`.

    Raises:
        ValueError: the image is not uint8 [H, W, 3], or the boxes are not [N, 4].
    """
    require_image(image)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], got {list(boxes.shape)}")
    crops = np.empty((len(boxes), 3, CROP_HEIGHT, CROP_WIDTH), np.float32)
    for crop, box in zip(crops, boxes, strict=True):
        crop[...] = normalise(resize_crop(cut(image, box)))
    return crops


def cut(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The part of the image under `box` with its margin, on whole pixels, never empty."""
    height, width = image.shape[:2]
    xmin, ymin, xmax, ymax = (float(side) for side in box)
    dx, dy = (xmax - xmin) * MARGIN_X, (ymax - ymin) * MARGIN_Y
    left = min(max(math.floor(xmin - dx), 0), width - 1)
    top = min(max(math.floor(ymin - dy), 0), height - 1)
    right = min(max(math.ceil(xmax + dx), left + 1), width)
    bottom = min(max(math.ceil(ymax + dy), top + 1), height)
    return image[top:bottom, left:right]


def resize_crop(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale a BGR crop to 94x24: area averaging when it shrinks, bilinear when it grows."""
    shrinks = crop.shape[1] >= CROP_WIDTH
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (CROP_WIDTH, CROP_HEIGHT), interpolation=method)
    return np.asarray(resized, dtype=np.uint8)


def normalise(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn uint8 [24, 94, 3] BGR into float32 [3, 24, 94] RGB, `(x - 127.5) / 128`."""
    planes = crop[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
    return (planes - np.float32(127.5)) * np.float32(1.0 / 128.0)
