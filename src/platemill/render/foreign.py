"""Plates of other countries, for the detector: of one and two lines, of several colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.glyphs import WIDTHS
from platemill.render.plate import Plate, stamp, wear

_SIZES = ((520, 110), (520, 112), (480, 110), (440, 120), (305, 152), (290, 170), (340, 220))
_PAINTS = (
    ((238, 238, 238), (25, 25, 25)),
    ((60, 200, 245), (20, 20, 20)),
    ((150, 70, 20), (240, 240, 240)),
    ((30, 30, 30), (225, 225, 225)),
    ((50, 40, 190), (240, 240, 240)),
)
_CHARACTERS = "".join(sorted(WIDTHS))


def draw_foreign(rng: np.random.Generator, scale: float) -> Plate:
    """Draw some plate of one or two lines, `scale` pixels per millimetre; its text is ""."""
    wide, high = _SIZES[rng.integers(0, len(_SIZES))]
    rows, columns = round(high * scale), round(wide * scale)
    paint, ink_colour = _PAINTS[0 if rng.random() < 0.72 else rng.integers(0, len(_PAINTS))]
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = paint
    lines = 1 if high < 140 else 2
    ink = np.zeros((rows, columns), np.float32)
    start = 12.0
    if rng.random() < 0.6:
        band = rng.uniform(30, 45)
        image[:, : round(band * scale)] = (150, 70, 25)
        start += band
    tall = min(80.0, (high - 26) / lines - 6)
    for line in range(lines):
        _write(ink, rng, start, wide - 10.0, 14 + (tall + 8) * line + tall, tall, scale)
    edge = max(1, round(3 * scale))
    if rng.random() < 0.7:
        cv2.rectangle(ink, (edge, edge), (columns - edge - 1, rows - edge - 1), 1.0, edge)
    image += ink[:, :, None] * (np.array(ink_colour, np.float32) - image)
    wear(image, rng)
    return Plate(np.clip(image, 0, 255), np.ones((rows, columns), np.float32), "", lines > 1)


def _write(
    ink: NDArray[np.float32],
    rng: np.random.Generator,
    left: float,
    right: float,
    baseline: float,
    tall: float,
    scale: float,
) -> None:
    """Fill a line with characters and gaps of about the right number."""
    pitch = tall * rng.uniform(0.62, 0.8)
    x = left + pitch / 2
    while x + pitch / 2 < right:
        if rng.random() > 0.14:
            character = _CHARACTERS[rng.integers(0, len(_CHARACTERS))]
            wide = round(0.8 * pitch / WIDTHS[character], 1)
            stamp(ink, character, x, baseline, round(tall), 10.0, scale, min(wide, 1.4))
        x += pitch
