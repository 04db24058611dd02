"""Samples for the reader: a rendered plate, seen by a camera, cut out as the detector would."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import lens, light, project, random_pose, surround
from platemill.render.plate import Plate, draw_plate, random_text
from platemill.vision.crops import cut, resize_crop

TEXTURE_SCALE = 0.6
"""Pixels per millimetre of the flat plates that crops are made from."""


def random_plate(rng: np.random.Generator) -> Plate:
    """Draw a plate with a random text at the scale that `crop_of` expects."""
    return draw_plate(random_text(rng), rng, TEXTURE_SCALE)


def crop_of(plate: Plate, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph a plate and cut it out: uint8 [24, 94, 3], BGR.

    The width in the picture, the pose, the light and the camera are drawn; the box is the
    plate's upright hull, moved a little as a detector's box is.
    """
    rows, columns = plate.mask.shape
    mx, my = columns // 8, rows // 2
    paint = rng.uniform(10, 230) * np.clip(rng.normal(1, 0.25, 3), 0.2, 1.6)
    flat = surround(plate.image, plate.mask, paint.astype(np.float32), rng, (mx, my))
    width = math.exp(rng.uniform(math.log(38), math.log(260)))
    quad = project(random_pose(rng), width)
    span = quad.max(axis=0) - quad.min(axis=0)
    size = np.ceil(span * (1.24, 1.3) + 6).astype(int)
    quad += size / 2 - (quad.max(axis=0) + quad.min(axis=0)) / 2
    quad += rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    shrink = columns / width
    if shrink > 1.2:
        flat = cv2.GaussianBlur(flat, (0, 0), 0.42 * shrink)
    source = np.array(
        [[mx, my], [mx + columns, my], [mx + columns, my + rows], [mx, my + rows]], np.float32
    )
    matrix = cv2.getPerspectiveTransform(source, quad.astype(np.float32))
    seen = cv2.warpPerspective(
        flat, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    light(seen, rng)
    photo = lens(np.asarray(seen, np.float32), rng, width * rows / columns)
    low, high = quad.min(axis=0), quad.max(axis=0)
    box = jitter(np.concatenate([low, high]), rng)
    return resize_crop(cut(photo, box))


def jitter(box: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move the sides of a box [4] a little, as a detector errs: mostly outwards."""
    width, height = box[2] - box[0], box[3] - box[1]
    spread = 0.012 if rng.random() < 0.7 else 0.03
    noise = rng.normal(0, spread, 4) + np.array([-1, -1, 1, 1]) * rng.normal(0.004, 0.01)
    noise *= np.array([width, 2.2 * height, width, 2.2 * height])
    return np.asarray(box + noise, dtype=np.float32)
