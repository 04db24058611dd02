"""Scenes for the detector: clutter, cars and plates, with the plates' boxes.

The clutter is cheap on purpose: what the detector has to learn from it is what is *not* a
plate, such as lettering, signs, grilles, lamps, windows and stickers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import lens, light, project, random_pose, surround
from platemill.render.clutter import decoy, draw_clutter, draw_vehicle, lettering
from platemill.render.foreign import draw_foreign
from platemill.render.plate import Plate, draw_plate, random_text

_FLAT_SCALE = 0.5


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 [h, w, 3] BGR, and its plates' boxes, float32 [N, 4], in pixels."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def draw_scene(
    rng: np.random.Generator,
    width: int,
    height: int,
    background: NDArray[np.uint8] | None = None,
    taken: NDArray[np.float32] | None = None,
) -> Scene:
    """Draw a scene with zero to four plates.

    Args:
        rng: source of everything drawn.
        width: of the scene in pixels.
        height: of the scene in pixels.
        background: uint8 [height, width, 3], a photo to draw upon, or None for clutter.
        taken: float32 [N, 4], boxes of plates that the photo already shows.
    """
    boxes: list[NDArray[np.float32]] = [] if taken is None else list(taken)
    if background is None:
        canvas = draw_clutter(rng, width, height)
    else:
        canvas = background.astype(np.float32)
    count = int(rng.choice([0, 1, 2, 3, 4], p=[0.15, 0.4, 0.25, 0.12, 0.08]))
    if background is not None:
        count = int(rng.integers(0, 3))
    for _ in range(int(rng.integers(0, 4))):
        place = _place(rng, width, height, decoy(rng), boxes, canvas)
        if place is not None:
            boxes.append(place)
    for _ in range(int(rng.integers(0, 5))):
        place = _place(rng, width, height, lettering(rng), boxes, canvas, bare=True)
        if place is not None:
            boxes.append(place)
    fakes = len(boxes)
    real = 0 if taken is None else len(taken)
    for _ in range(count):
        plate = (
            draw_plate(random_text(rng), rng, _FLAT_SCALE)
            if rng.random() < 0.72
            else draw_foreign(rng, _FLAT_SCALE)
        )
        place = _place(rng, width, height, plate, boxes, canvas, vehicle=background is None)
        if place is not None:
            boxes.append(place)
    light(canvas, rng, 0.7)
    shown = boxes[:real] + boxes[fakes:]
    detail = min((float(box[3] - box[1]) for box in shown), default=14.0)
    image = lens(canvas, rng, min(max(detail, 6.0), 22.0))
    found = np.array(shown, np.float32).reshape(-1, 4)
    return Scene(image, found)


def _place(
    rng: np.random.Generator,
    width: int,
    height: int,
    plate: Plate,
    boxes: list[NDArray[np.float32]],
    canvas: NDArray[np.float32],
    vehicle: bool = False,
    bare: bool = False,
) -> NDArray[np.float32] | None:
    """Paste a plate somewhere free, perhaps on a vehicle; returns its box, or None."""
    rows, columns = plate.mask.shape
    aspect = columns / rows
    largest = 0.62 * width if aspect > 3 else 0.3 * width
    seen = math.exp(rng.uniform(math.log(7 * min(aspect, 3)), math.log(largest)))
    quad = project(random_pose(rng, 0.9), seen)
    quad[:, 1] *= 4.643 / aspect
    span = quad.max(axis=0) - quad.min(axis=0)
    if span[0] >= width or span[1] >= height:
        return None
    for _ in range(8):
        corner = np.array([rng.uniform(0, width - span[0]), rng.uniform(0, height - span[1])])
        box = np.concatenate([corner, corner + span]).astype(np.float32)
        if not any(_close(box, other) for other in boxes):
            break
    else:
        return None
    quad += (corner - quad.min(axis=0)).astype(np.float32)
    paint = (rng.uniform(10, 230) * np.clip(rng.normal(1, 0.25, 3), 0.2, 1.6)).astype(np.float32)
    if vehicle and rng.random() < 0.75:
        keep = [other for other in boxes if _shares(other, box, span)]
        if not keep:
            draw_vehicle(canvas, box, paint, rng)
    if not bare and rng.random() < 0.65:
        mx, my = columns // 8, rows // 3
        flat = surround(plate.image, plate.mask, paint, rng, (mx, my))
        mask = np.zeros(flat.shape[:2], np.float32)
        mask[1:-1, 1:-1] = 1
    else:
        mx, my = 1, 1
        flat = cv2.copyMakeBorder(plate.image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        mask = cv2.copyMakeBorder(plate.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    flat = flat * np.float32(rng.uniform(0.65, 1.05))
    paste(canvas, flat, mask, (mx, my, columns, rows), quad)
    return box


def paste(
    canvas: NDArray[np.float32],
    flat: NDArray[np.float32],
    mask: NDArray[np.float32],
    inner: tuple[int, int, int, int],
    quad: NDArray[np.float32],
) -> None:
    """Warp a flat picture onto the canvas in place.

    Args:
        canvas: float32 [H, W, 3].
        flat: float32 [h, w, 3].
        mask: float32 [h, w], 0 to 1, what of it is pasted.
        inner: left, top, width and height of the part of `flat` that `quad` belongs to.
        quad: float32 [4, 2], where the inner part's corners come to lie.
    """
    left, top, columns, rows = inner
    span = quad.max(axis=0) - quad.min(axis=0)
    shrink = columns / max(1.0, float(span[0]))
    if shrink > 1.15:
        flat = cv2.GaussianBlur(flat, (0, 0), 0.42 * shrink)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.42 * shrink)
    reach = 0.5 * float(span.max()) + 3
    height, width = canvas.shape[:2]
    x0, y0 = (max(0, int(v - reach)) for v in quad.min(axis=0))
    x1, y1 = int(quad[:, 0].max() + reach), int(quad[:, 1].max() + reach)
    x1, y1 = min(width, x1), min(height, y1)
    source = np.array(
        [[left, top], [left + columns, top], [left + columns, top + rows], [left, top + rows]],
        np.float32,
    )
    target = (quad - (x0, y0)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = (x1 - x0, y1 - y0)
    warped = cv2.warpPerspective(flat, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(mask, matrix, size, borderValue=0.0)[:, :, None]
    region = canvas[y0:y1, x0:x1]
    region += cover * (warped - region)


def _close(box: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two boxes touch, with a margin of a third of the larger height."""
    gap = 0.35 * max(box[3] - box[1], other[3] - other[1])
    apart = (
        box[0] - gap > other[2]
        or other[0] - gap > box[2]
        or box[1] - gap > other[3]
        or other[1] - gap > box[3]
    )
    return not apart


def _shares(
    other: NDArray[np.float32], box: NDArray[np.float32], span: NDArray[np.float32]
) -> bool:
    """Whether a vehicle drawn around `box` would cover `other`."""
    reach = 2.2 * float(span[0])
    return bool(
        other[0] < box[2] + reach
        and other[2] > box[0] - reach
        and other[1] < box[3] + reach
        and other[3] > box[1] - 2 * reach
    )
