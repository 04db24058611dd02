"""Scenes for the detector: clutter or photos, cars and plates, and what is known of them.

The clutter is cheap on purpose: what the detector has to learn from it is what is *not* a
plate, such as lettering, signs, grilles, lamps, windows and stickers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import light, project, random_pose, surround
from platemill.render.clutter import draw_clutter, draw_vehicle, lettering
from platemill.render.develop import develop
from platemill.render.distractors import distractor
from platemill.render.foreign import draw_foreign
from platemill.render.kinds import random_design, random_text
from platemill.render.labels import Labels
from platemill.render.overlays import overlay
from platemill.render.paste import paste
from platemill.render.plate import Plate, draw_plate
from platemill.render.swap import swap

FLAT_SCALE = 0.5
"""Pixels per millimetre of the flat plates that are laid into scenes."""

_DETAIL = (6.0, 22.0)


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 [h, w, 3] BGR, and its plates."""

    image: NDArray[np.uint8]
    plates: Labels


def any_plate(rng: np.random.Generator) -> Plate:
    """Draw a plate of any kind and country, square ones more often than they are met."""
    if rng.random() < 0.3:
        return draw_foreign(rng, FLAT_SCALE)
    design = random_design(rng)
    return draw_plate(random_text(rng, design), rng, FLAT_SCALE, design)


def draw_scene(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw a scene of clutter with zero to four plates, `width` x `height` pixels."""
    canvas = draw_clutter(rng, width, height)
    taken: list[NDArray[np.float32]] = []
    _distract(canvas, rng, taken)
    count = int(rng.choice([0, 1, 2, 3, 4], p=[0.12, 0.4, 0.25, 0.14, 0.09]))
    plates = _add_plates(canvas, rng, taken, count, vehicles=True)
    return _shot(canvas, rng, plates, 0.75)


def draw_on_photo(
    rng: np.random.Generator,
    photo: NDArray[np.uint8],
    plates: Labels,
    swapped: NDArray[np.bool_],
    roll: float = 0.0,
) -> Scene:
    """Draw a scene upon a photo.

    Args:
        rng: source of everything drawn.
        photo: uint8 [h, w, 3], BGR.
        plates: those of the photo.
        swapped: bool [N], which of them are replaced by drawn ones.
        roll: degrees that the photo has been turned by.
    """
    canvas = photo.astype(np.float32)
    quads, lines = [], []
    for box in plates.boxes[swapped]:
        drawn = any_plate(rng)
        quads.append(swap(canvas, box, drawn, rng, roll))
        lines.append(drawn.two_lines)
    new = Labels.of_quads(np.array(quads, np.float32), np.array(lines, np.bool_))
    rows, columns = photo.shape[:2]
    shown = plates.of(~swapped).joined(new.within(columns, rows))
    taken = list(shown.boxes)
    if rng.random() < 0.55:
        _distract(canvas, rng, taken)
    count = int(rng.choice([0, 1, 2], p=[0.65, 0.25, 0.1]))
    shown = shown.joined(_add_plates(canvas, rng, taken, count, vehicles=False))
    return _shot(canvas, rng, shown, 0.45)


def _shot(
    canvas: NDArray[np.float32], rng: np.random.Generator, plates: Labels, lit: float
) -> Scene:
    """Light a part `lit` of the scenes, lay something over some, and photograph them."""
    if rng.random() < lit:
        light(canvas, rng, 0.6)
    if rng.random() < 0.35:
        overlay(canvas, rng)
    heights = plates.boxes[~plates.ignored][:, 3] - plates.boxes[~plates.ignored][:, 1]
    detail = float(np.clip(heights.min(initial=_DETAIL[1]), *_DETAIL))
    return Scene(develop(canvas, rng, detail), plates)


def _distract(
    canvas: NDArray[np.float32], rng: np.random.Generator, taken: list[NDArray[np.float32]]
) -> None:
    """Place things that are no plates; their boxes are added to `taken`."""
    for _ in range(int(rng.integers(0, 6))):
        _place(canvas, rng, distractor(rng), taken, bare=rng.random() < 0.75)
    for _ in range(int(rng.integers(0, 4))):
        _place(canvas, rng, lettering(rng), taken, bare=True)


def _add_plates(
    canvas: NDArray[np.float32],
    rng: np.random.Generator,
    taken: list[NDArray[np.float32]],
    count: int,
    vehicles: bool,
) -> Labels:
    """Place plates where nothing is; what does not fit is left out."""
    quads, lines = [], []
    for _ in range(count):
        plate = any_plate(rng)
        quad = _place(canvas, rng, plate, taken, vehicle=vehicles)
        if quad is not None:
            quads.append(quad)
            lines.append(plate.two_lines)
    return Labels.of_quads(np.array(quads, np.float32), np.array(lines, np.bool_))


def _place(
    canvas: NDArray[np.float32],
    rng: np.random.Generator,
    plate: Plate,
    taken: list[NDArray[np.float32]],
    vehicle: bool = False,
    bare: bool = False,
) -> NDArray[np.float32] | None:
    """Paste a plate somewhere free, perhaps on a vehicle; returns its corners, or None."""
    height, width = canvas.shape[:2]
    rows, columns = plate.mask.shape
    aspect = columns / rows
    largest = 0.62 * width if aspect > 3 else 0.3 * width
    seen = math.exp(rng.uniform(math.log(6 * min(aspect, 3)), math.log(largest)))
    quad = project(random_pose(rng, 0.9), seen, rows / columns)
    span = quad.max(axis=0) - quad.min(axis=0)
    if span[0] >= width or span[1] >= height:
        return None
    for _ in range(8):
        corner = np.array([rng.uniform(0, width - span[0]), rng.uniform(0, height - span[1])])
        box = np.concatenate([corner, corner + span]).astype(np.float32)
        if not any(_close(box, other) for other in taken):
            break
    else:
        return None
    quad += (corner - quad.min(axis=0)).astype(np.float32)
    paint = (rng.uniform(10, 230) * np.clip(rng.normal(1, 0.25, 3), 0.2, 1.6)).astype(np.float32)
    if vehicle and rng.random() < 0.75 and not any(_shares(t, box, span) for t in taken):
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
    taken.append(box)
    return quad


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
