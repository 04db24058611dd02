"""A drawn plate in the place of a photo's own, so that a real car shows a known face."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import project, random_pose, surround
from platemill.render.paste import paste
from platemill.render.plate import Plate

_LEAST_WIDTH = 8.0


def swap(
    canvas: NDArray[np.float32],
    box: NDArray[np.float32],
    plate: Plate,
    rng: np.random.Generator,
    roll: float = 0.0,
) -> NDArray[np.float32]:
    """Paint a plate of the photo over and put a drawn one there, in place.

    Args:
        canvas: float32 [h, w, 3], BGR, the photo.
        box: float32 [4], where the photo's own plate is, in pixels.
        plate: the drawn one.
        rng: source of its pose, size and light.
        roll: degrees that the photo itself is turned by.

    Returns:
        float32 [4, 2], the corners of the drawn plate's face.
    """
    rows, columns = plate.mask.shape
    wide = float(box[2] - box[0]) * rng.uniform(0.95, 1.2)
    if plate.two_lines:
        wide *= rng.uniform(0.55, 0.85)
    quad = project(random_pose(rng, 1.0), max(wide, _LEAST_WIDTH), rows / columns)
    turn = math.radians(roll)
    turned = quad @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], np.float32
    )
    middle = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.04, 2) * (box[3] - box[1])
    placed = (turned + middle).astype(np.float32)
    around, seen = _erase(canvas, box)
    own = float(plate.image.mean())
    gain = np.clip(seen / max(own, 40.0) * rng.uniform(0.85, 1.3), 0.1, 1.25).astype(np.float32)
    mx, my = columns // 8, rows // 3
    paint = np.clip(around / gain, 0, 400).astype(np.float32)
    flat = surround(plate.image, plate.mask, paint, rng, (mx, my)) * gain
    return _put(canvas, flat, plate, (mx, my), placed, bare=rng.random() < 0.35)


def _put(
    canvas: NDArray[np.float32],
    flat: NDArray[np.float32],
    plate: Plate,
    margin: tuple[int, int],
    quad: NDArray[np.float32],
    bare: bool,
) -> NDArray[np.float32]:
    """Paste the mounted plate: its holder fades into the photo, or is left out."""
    rows, columns = plate.mask.shape
    mx, my = margin
    mask = np.zeros(flat.shape[:2], np.float32)
    if bare:
        mask[my : my + rows, mx : mx + columns] = plate.mask
    else:
        mask[my // 2 : -(my // 2), mx // 2 : -(mx // 2)] = 1
    paste(canvas, flat, mask, (mx, my, columns, rows), quad)
    return quad


def _erase(
    canvas: NDArray[np.float32], box: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paint a box over with what is above and below it.

    Returns:
        float32 [3] each: the colour around the box, and the colour that was in it.
    """
    height, width = canvas.shape[:2]
    pad = 0.08 * float(box[3] - box[1]) + 1
    x0, y0 = max(0, int(box[0] - pad)), max(0, int(box[1] - pad))
    x1, y1 = min(width, int(box[2] + pad) + 1), min(height, int(box[3] + pad) + 1)
    seen = canvas[y0:y1, x0:x1].mean(axis=(0, 1)).astype(np.float32)
    strip = max(1, (y1 - y0) // 5)
    rows = [canvas[max(0, y0 - strip) : y0, x0:x1], canvas[y1 : y1 + strip, x0:x1]]
    edges = [row.mean(axis=0) for row in rows if row.size]
    if not edges:
        return seen, seen
    top, bottom = edges[0], edges[-1]
    ramp = np.linspace(0, 1, y1 - y0, dtype=np.float32)[:, None, None]
    fill = top[None] + ramp * (bottom - top)[None]
    canvas[y0:y1, x0:x1] = cv2.blur(fill, (max(1, (x1 - x0) // 12), 1))
    return np.asarray((top.mean(axis=0) + bottom.mean(axis=0)) / 2, np.float32), seen
