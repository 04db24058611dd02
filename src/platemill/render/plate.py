"""Flat images of Russian number plates: 520 x 112 mm, one line.

Geometry after GOST R 50577 (type 1), measured in millimetres from the plate's top left
corner; every plate is drawn with small deviations, as stamped ones have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.glyphs import WIDTHS, glyph
from platemill.vision.plates import DIGITS, LETTERS, REGION_FIRST_DIGITS

WIDTH_MM = 520.0
HEIGHT_MM = 112.0

_BASELINE = 95.0
_REGION_BASELINE = 75.0
_DIGIT_HEIGHT = 76.0
_LETTER_HEIGHT = 58.0
_CENTRES = {
    2: ((61.0, 126.0, 182.0, 238.0, 303.0, 358.0), (424.0, 464.0), 396.0),
    3: ((53.0, 107.0, 162.0, 217.0, 273.0, 328.0), (388.0, 429.0, 471.0), 364.0),
}
_COMMON_REGIONS = (
    "77", "97", "99", "177", "197", "199", "777", "799", "750", "150", "190", "50", "90",
    "78", "98", "178", "198", "47", "147", "16", "116", "716", "23", "93", "123", "61", "161",
    "02", "102", "702", "63", "163", "763", "66", "96", "196", "74", "174", "52", "152", "54",
    "154", "24", "124", "59", "159", "34", "134", "36", "136", "64", "164", "42", "142", "38",
    "138", "25", "125", "26", "126", "82", "05", "95", "186", "86", "72", "55", "22", "39",
)  # fmt: skip
_WHITE = (236.0, 238.0, 238.0)
_FLAG = ((235.0, 235.0, 235.0), (160.0, 70.0, 30.0), (45.0, 40.0, 200.0))


@dataclass(frozen=True)
class Plate:
    """A drawn plate.

    image: float32 [h, w, 3], BGR, 0 to 255, `h = 112 * scale` and `w = 520 * scale` pixels.
    mask: float32 [h, w], 0 to 1, one inside the plate's rounded outline.
    text: what is written on it, such as `A123BC77`.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.float32]
    text: str


def random_text(rng: np.random.Generator) -> str:
    """Draw a text of type 1: letters and serial evenly, the region partly by how common."""
    letters = [LETTERS[i] for i in rng.integers(0, len(LETTERS), 3)]
    chance = rng.random()
    if chance < 0.12:
        serial = str(rng.integers(1, 10)) * 3
    elif chance < 0.2:
        serial = f"{rng.integers(1, 10):03d}"
    else:
        serial = f"{rng.integers(1, 1000):03d}"
    if rng.random() < 0.08:
        letters = [letters[0]] * 3
    if rng.random() < 0.4:
        region = _COMMON_REGIONS[rng.integers(0, len(_COMMON_REGIONS))]
    else:
        region = f"{rng.integers(1, 100):02d}"
        if rng.random() < 0.5:
            region = REGION_FIRST_DIGITS[rng.integers(0, len(REGION_FIRST_DIGITS))] + region
    return f"{letters[0]}{serial}{letters[1]}{letters[2]}{region}"


def draw_plate(text: str, rng: np.random.Generator, scale: float = 1.0) -> Plate:
    """Draw a plate of type 1.

    Args:
        text: a well-formed plate, `LDDDLLRR` or `LDDDLLRRR`.
        rng: source of the deviations: stroke width, places, bolts, flag, colours, dirt.
        scale: pixels per millimetre.
    """
    rows, columns = round(HEIGHT_MM * scale), round(WIDTH_MM * scale)
    mask = _outline(rows, columns, scale)
    body, region = text[:6], text[6:]
    centres, region_centres, divider = _CENTRES[len(region)]
    ink = np.zeros((rows, columns), np.float32)
    stroke = float(rng.choice([9.0, 9.6, 10.2, 10.8, 11.6]))
    wide = float(rng.choice([0.94, 0.97, 1.0, 1.03]))
    shift_x, shift_y = rng.uniform(-2.5, 2.5), rng.uniform(-1.5, 1.5)
    for character, centre in zip(body, centres, strict=True):
        tall = _DIGIT_HEIGHT if character in DIGITS else _LETTER_HEIGHT
        thick = stroke if character in DIGITS else stroke - 0.7
        x = centre + shift_x + rng.uniform(-0.7, 0.7)
        stamp(ink, character, x, _BASELINE + shift_y, tall, thick, scale, wide)
    shift_x, shift_y = rng.uniform(-3, 3), rng.uniform(-1.5, 1.5)
    for character, centre in zip(region, region_centres, strict=True):
        x = centre + shift_x + rng.uniform(-0.5, 0.5)
        narrow = wide * 0.8
        stamp(
            ink, character, x, _REGION_BASELINE + shift_y, _LETTER_HEIGHT, stroke - 1, scale, narrow
        )
    flag = rng.random() < 0.85
    rus = 429.0 if flag else 452.0
    for character, x in zip("RUS", (rus - 20, rus, rus + 20), strict=True):
        stamp(ink, character, x + shift_x, 96.0, 17.0, 2.8, scale, 0.38)
    _frame(ink, divider + rng.uniform(-1.5, 1.5), scale, rng)
    colour = np.array(_WHITE, np.float32)
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = colour
    if flag:
        _flag(image, 487.0 + shift_x, 87.0, scale)
    black = np.array([28.0, 26.0, 26.0], np.float32) + np.float32(rng.uniform(-15, 35))
    if rng.random() < 0.5:
        _emboss(image, ink, rng)
    image += ink[:, :, None] * (black - image)
    _bolts(image, scale, rng)
    wear(image, rng)
    return Plate(image=np.clip(image, 0, 255), mask=mask, text=text)


def stamp(
    ink: NDArray[np.float32],
    character: str,
    centre: float,
    baseline: float,
    height: float,
    stroke: float,
    scale: float,
    widen: float = 1.0,
) -> None:
    """Add a character to an ink map; places and sizes in millimetres."""
    drawn = glyph(character, round(WIDTHS[character] * widen, 2), height, stroke, scale)
    rows, columns = drawn.shape
    left = max(0, round((centre - WIDTHS[character] * widen / 2) * scale))
    top = max(0, round((baseline - height) * scale))
    target = ink[top : top + rows, left : left + columns]
    np.maximum(target, drawn[: target.shape[0], : target.shape[1]], out=target)


@lru_cache(maxsize=64)
def _outline(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
    mask = _rounded(rows, columns, 0.0, 9.0, scale)
    mask.flags.writeable = False
    return mask


def _rounded(
    rows: int, columns: int, inset: float, radius: float, scale: float
) -> NDArray[np.float32]:
    """Draw the plate's rounded outline, `inset` millimetres smaller on each side."""
    x1, y1, x0, y0 = WIDTH_MM - inset, HEIGHT_MM - inset, inset, inset
    corners = [
        (x1 - radius, y1 - radius, 0),
        (x0 + radius, y1 - radius, 90),
        (x0 + radius, y0 + radius, 180),
        (x1 - radius, y0 + radius, 270),
    ]
    points = [
        (x + radius * np.cos(np.radians(a)), y + radius * np.sin(np.radians(a)))
        for x, y, start in corners
        for a in (start, start + 30, start + 60, start + 90)
    ]
    canvas = np.zeros((rows, columns), np.uint8)
    polygon = np.rint(np.array(points) * scale * 16 - 8).astype(np.int32)
    cv2.fillConvexPoly(canvas, polygon, 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1 / 255)


@lru_cache(maxsize=256)
def _border(rows: int, columns: int, edge: float, line: float, scale: float) -> NDArray[np.float32]:
    border = _rounded(rows, columns, edge, 8.0, scale)
    border -= _rounded(rows, columns, edge + line, 6.0, scale)
    border.flags.writeable = False
    return border


def _frame(
    ink: NDArray[np.float32], divider: float, scale: float, rng: np.random.Generator
) -> None:
    """Draw the black border and the line before the region."""
    line = float(rng.choice([2.5, 3.0, 3.5, 4.0]))
    edge = float(rng.choice([1.0, 1.5, 2.0, 2.8, 3.5]))
    rows, columns = ink.shape
    border = _border(rows, columns, edge, line, scale) * np.float32(rng.uniform(0.8, 1.0))
    np.maximum(ink, border, out=ink)
    x = round(divider * scale)
    margin = round(edge * scale)
    ink[margin : rows - margin, x : x + max(1, round(line * scale))] = 1.0


def _flag(image: NDArray[np.float32], centre: float, middle: float, scale: float) -> None:
    left, right = round((centre - 19) * scale), round((centre + 19) * scale)
    top, third = (middle - 11) * scale, 22 * scale / 3
    image[round(top - scale) : round(top + 3 * third + scale), left - 1 : right + 1] = 60
    for index, colour in enumerate(_FLAG):
        low, high = round(top + index * third), round(top + (index + 1) * third)
        image[low:high, left:right] = colour


def _emboss(image: NDArray[np.float32], ink: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Light and shade along the raised characters."""
    dx, dy = (int(step) for step in rng.integers(-2, 3, 2))
    soft = cv2.GaussianBlur(ink, (0, 0), 1.2)
    relief = np.roll(soft, (dy, dx), (0, 1)) - np.roll(soft, (-dy, -dx), (0, 1))
    image += (relief * np.float32(rng.uniform(10, 70)))[:, :, None]


def _bolts(image: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    kind = rng.random()
    if kind < 0.1:
        return
    radius = rng.uniform(2.5, 4.5) if kind < 0.6 else rng.uniform(5.0, 10.0)
    grey = rng.uniform(20, 120) if rng.random() < 0.7 else rng.uniform(150, 240)
    colour = np.array([grey, grey, grey], np.float32)
    if rng.random() < 0.25:
        colour = np.array([30, 60, 110], np.float32) * np.float32(rng.uniform(0.5, 1.3))
    elif rng.random() < 0.15:
        colour = rng.uniform(20, 220, 3).astype(np.float32)
    y = 56 + rng.uniform(-3, 3)
    for x in (16 + rng.uniform(-3, 5), WIDTH_MM - 16 + rng.uniform(-5, 3)):
        centre = (round(x * scale * 16), round(y * scale * 16))
        size = round(radius * scale * 16)
        tone = (float(colour[0]), float(colour[1]), float(colour[2]))
        cv2.circle(image, centre, size, tone, -1, cv2.LINE_AA, 4)
        if radius > 5:
            bright = tuple(min(255.0, c * 1.5 + 15) for c in tone)
            cv2.circle(image, centre, size // 2, bright, -1, cv2.LINE_AA, 4)


def wear(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add dirt, splashes and worn paint to a plate, in place."""
    if rng.random() < 0.55:
        return
    rows, columns = image.shape[:2]
    cell = int(rng.integers(4, max(6, rows // 3)))
    coarse = rng.random((max(2, rows // cell), max(2, columns // cell)), dtype=np.float32)
    cloud = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    low = rng.uniform(0.45, 0.9)
    dirt = np.clip((cloud - low) * rng.uniform(1, 4), 0, rng.uniform(0.2, 0.75))
    if rng.random() < 0.5:
        ramp = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 2
        dirt = np.clip(dirt + ramp * rng.uniform(0, 0.5), 0, 0.8)
    grey = rng.uniform(50, 170)
    colour = np.array([grey * 0.85, grey * 0.95, grey], np.float32)
    if rng.random() < 0.15:
        colour = np.array([240, 240, 238], np.float32)
    image += dirt.astype(np.float32)[:, :, None] * (colour - image)
    for _ in range(int(rng.integers(0, 12))):
        centre = (int(rng.integers(0, columns)), int(rng.integers(0, rows)))
        size = max(1, int(rng.uniform(0.3, 3.0) * rows / 112))
        tone = (float(colour[0]), float(colour[1]), float(colour[2]))
        cv2.circle(image, centre, size, tone, -1, cv2.LINE_AA)
