"""Flat images of Russian number plates of every kind that `kinds` describes.

Lengths are millimetres from the plate's top left corner; every plate is drawn with small
deviations, as stamped ones have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.glyphs import WIDTHS, glyph
from platemill.render.kinds import CAR, LOW, TALL, Design, Face, Line, random_text
from platemill.vision.plates import DIGITS

__all__ = ["HEIGHT_MM", "WIDTH_MM", "Plate", "draw_plate", "random_text", "stamp", "wear"]

WIDTH_MM = 520.0
HEIGHT_MM = 112.0
"""Size of the ordinary plate."""

_FLAG = ((235.0, 235.0, 235.0), (160.0, 70.0, 30.0), (45.0, 40.0, 200.0))


@dataclass(frozen=True)
class Plate:
    """A drawn plate.

    image: float32 [h, w, 3], BGR, 0 to 255, `scale` pixels per millimetre.
    mask: float32 [h, w], 0 to 1, one inside the plate's rounded outline.
    text: what is written on it, such as `A123BC77`; "" if it is nothing to be read.
    two_lines: whether the text is written in two lines.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.float32]
    text: str
    two_lines: bool = False


def draw_plate(
    text: str, rng: np.random.Generator, scale: float = 1.0, design: Design = CAR
) -> Plate:
    """Draw a plate.

    Args:
        text: a well-formed plate of the kind, such as `LDDDLLRR` or `LDDDLLRRR`.
        rng: source of the deviations: stroke width, places, bolts, flag, colours, dirt.
        scale: pixels per millimetre.
        design: kind of the plate.
    """
    face = design.face(text)
    rows, columns = round(face.height * scale), round(face.width * scale)
    mask = _outline(rows, columns, scale)
    ink = np.zeros((rows, columns), np.float32)
    stroke = float(rng.choice([6.8, 7.6, 8.4, 9.2, 10.0, 11.0]))
    wide = float(rng.choice([0.94, 0.97, 1.0, 1.03, 1.06]))
    written = 0
    for line in face.body:
        part = text[written : written + len(line.centres)]
        written += len(part)
        _write(ink, part, line, rng, stroke, wide, scale)
    _write(ink, text[written:], face.region, rng, stroke - 0.7, wide, scale, loose=1.6)
    flag = rng.random() < 0.85 and design.ground[0] > 100
    shift = rng.uniform(-3, 3)
    _country(ink, face, flag, shift, rng, scale)
    _lines(ink, face, scale, rng)
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = np.array(design.ground, np.float32) + rng.normal(0, 4, 3).astype(np.float32)
    if flag:
        _flag(image, face, shift, scale)
    colour = np.array(design.ink, np.float32) + np.float32(rng.uniform(-15, 35))
    if rng.random() < 0.5:
        _emboss(image, ink, rng)
    image += ink[:, :, None] * (colour - image)
    _bolts(image, face, scale, rng)
    wear(image, rng)
    return Plate(np.clip(image, 0, 255), mask, text, face.two_lines)


def _write(
    ink: NDArray[np.float32],
    text: str,
    line: Line,
    rng: np.random.Generator,
    stroke: float,
    wide: float,
    scale: float,
    loose: float = 1.0,
) -> None:
    """Write the characters of one line; `loose` times the usual deviations."""
    shift_x, shift_y = rng.uniform(-2.5, 2.5) * loose, rng.uniform(-1.7, 1.7) * loose
    pitch = 1 + rng.uniform(-0.02, 0.02) * loose
    middle = sum(line.centres) / len(line.centres)
    tight = (
        1.0 if line.digit == TALL else round(line.digit / TALL * float(rng.choice([0.97, 1.03])), 3)
    )
    for character, centre in zip(text, line.centres, strict=True):
        digit = character in DIGITS
        x = middle + (centre - middle) * pitch + shift_x + rng.uniform(-0.7, 0.7)
        tall, thick = (line.digit, stroke) if digit else (line.letter, stroke - 0.7)
        size = min(1.0, tall / LOW)
        widen = wide * (tight if digit else 1.0)
        stamp(ink, character, x, line.baseline + shift_y, tall, thick * size, scale, widen)


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
    mask = rounded(rows, columns, 0.0, 9.0 * scale)
    mask.flags.writeable = False
    return mask


def rounded(rows: int, columns: int, inset: float, radius: float) -> NDArray[np.float32]:
    """Draw a rectangle with round corners, `inset` pixels inside [rows, columns]: 0 to 1."""
    x1, y1, x0, y0 = columns - inset, rows - inset, inset, inset
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
    polygon = np.rint(np.array(points) * 16 - 8).astype(np.int32)
    cv2.fillConvexPoly(canvas, polygon, 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1 / 255)


@lru_cache(maxsize=256)
def _border(rows: int, columns: int, edge: float, line: float, scale: float) -> NDArray[np.float32]:
    border = rounded(rows, columns, edge * scale, 8.0 * scale)
    border -= rounded(rows, columns, (edge + line) * scale, 6.0 * scale)
    border.flags.writeable = False
    return border


def _lines(ink: NDArray[np.float32], face: Face, scale: float, rng: np.random.Generator) -> None:
    """Draw the border and the lines around the region."""
    line = float(rng.choice([1.8, 2.5, 3.0, 3.5, 4.0]))
    edge = float(rng.choice([1.0, 1.5, 2.0, 2.8, 3.5]))
    rows, columns = ink.shape
    if rng.random() < 0.96:
        border = _border(rows, columns, edge, line, scale) * np.float32(rng.uniform(0.8, 1.0))
        np.maximum(ink, border, out=ink)
    x, y = round((face.box[0] + rng.uniform(-2, 2)) * scale), round(face.box[1] * scale)
    margin, thick = round(edge * scale), max(1, round(line * scale))
    ink[max(margin, y) : rows - margin, x : x + thick] = 1.0
    if y > 0:
        ink[y : y + thick, x : columns - margin] = 1.0


def _country(
    ink: NDArray[np.float32],
    face: Face,
    flag: bool,
    shift: float,
    rng: np.random.Generator,
    scale: float,
) -> None:
    """Write `RUS`, to the left of the flag if there is one."""
    if rng.random() < 0.03:
        return
    x, baseline, height = face.country
    if not flag:
        x += 1.35 * height
    for character, place in zip("RUS", (-1, 0, 1), strict=True):
        centre = x + shift + place * height * 1.18
        stamp(ink, character, centre, baseline, height, height / 6, scale, height * 0.0224)


def _flag(image: NDArray[np.float32], face: Face, shift: float, scale: float) -> None:
    x, baseline, height = face.country
    centre, middle = x + 3.4 * height + shift, baseline - height / 2
    wide, high = 1.12 * height, 1.3 * height
    left, right = round((centre - wide) * scale), round((centre + wide) * scale)
    top, third = (middle - high / 2) * scale, high * scale / 3
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


def _bolts(image: NDArray[np.float32], face: Face, scale: float, rng: np.random.Generator) -> None:
    """Screw the plate on: mostly where it is meant to be, sometimes anywhere."""
    places = [] if rng.random() < 0.1 else list(face.bolts)
    if rng.random() < 0.15:
        places = [
            (rng.uniform(0.04, 0.96) * face.width, rng.choice([0.09, 0.5, 0.91]) * face.height)
            for _ in range(int(rng.integers(1, 5)))
        ]
    radius = rng.uniform(2.5, 4.5) if rng.random() < 0.55 else rng.uniform(5.0, 10.0)
    grey = rng.uniform(20, 120) if rng.random() < 0.7 else rng.uniform(150, 240)
    tone = np.array([grey, grey, grey], np.float32)
    chance = rng.random()
    if chance < 0.2:
        tone = np.array([30, 60, 110], np.float32) * np.float32(rng.uniform(0.5, 1.3))
    elif chance < 0.3:
        tone = np.array([40, 30, 190] if rng.random() < 0.5 else [180, 70, 30], np.float32)
    elif chance < 0.36:
        tone = rng.uniform(20, 220, 3).astype(np.float32)
    colour = (float(tone[0]), float(tone[1]), float(tone[2]))
    for x, y in places:
        centre = (
            round((x + rng.uniform(-4, 4)) * scale * 16),
            round((y + rng.uniform(-3, 3)) * scale * 16),
        )
        size = round(radius * scale * 16)
        cv2.circle(image, centre, size, colour, -1, cv2.LINE_AA, 4)
        if radius > 5:
            bright = tuple(min(255.0, c * 1.5 + 15) for c in colour)
            cv2.circle(image, centre, size // 2, bright, -1, cv2.LINE_AA, 4)


def wear(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add dirt, snow, splashes and worn paint to a plate, in place."""
    if rng.random() < 0.5:
        return
    rows, columns = image.shape[:2]
    cover = _cloud(rng, rows, columns)
    if rng.random() < 0.5:
        ramp = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** rng.uniform(1, 3)
        cover = np.clip(cover + ramp * np.float32(rng.uniform(0, 0.7)), 0, 0.85)
    grey = rng.uniform(40, 170)
    colour = np.array([grey * 0.85, grey * 0.95, grey], np.float32)
    if rng.random() < 0.2:
        colour = np.array([240, 240, 238], np.float32)
    image += cover[:, :, None] * (colour - image)
    tone = (float(colour[0]), float(colour[1]), float(colour[2]))
    for _ in range(int(rng.integers(0, 14))):
        centre = (int(rng.integers(0, columns)), int(rows * rng.random() ** 0.6))
        size = max(1, int(rng.uniform(0.3, 3.5) * rows / 112))
        cv2.circle(image, centre, size, tone, -1, cv2.LINE_AA)


def _cloud(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Patches of dirt: float32 [rows, columns], 0 to 0.8."""
    cell = int(rng.integers(4, max(6, rows // 3)))
    coarse = rng.random((max(2, rows // cell), max(2, columns // cell)), dtype=np.float32)
    cloud = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    low, most = rng.uniform(0.45, 0.9), rng.uniform(0.2, 0.8)
    dirt = (cloud - np.float32(low)) * np.float32(rng.uniform(1, 5))
    return np.asarray(np.clip(dirt, 0, np.float32(most)), np.float32)
