"""Parts of cars and streets that a detector takes for plates: lamps, grilles, badges, signs.

Each is drawn flat, as a plate is, with a mask of its shape and an empty text.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.clutter import colour, decoy, lettering, words
from platemill.render.plate import Plate

_BRIGHT = 130.0
_TONES = ((30, 30, 170), (60, 120, 235), (235, 235, 235), (200, 205, 210), (25, 25, 28))


def distractor(rng: np.random.Generator) -> Plate:
    """Draw something that is no plate but lies where plates lie, or looks like one."""
    kinds = (decoy, lamp, grille, badge, name, sign, wheel)
    chosen = rng.choice(len(kinds), p=[0.22, 0.18, 0.14, 0.13, 0.13, 0.14, 0.06])
    return kinds[chosen](rng)


def _blank(rows: int, columns: int, tone: tuple[float, ...]) -> NDArray[np.float32]:
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = tone
    return image


def _metal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Chrome or dark plastic: bands of grey from top to bottom."""
    stops = rng.uniform(10, 250, int(rng.integers(3, 7))).astype(np.float32)[:, None]
    bands = cv2.resize(stops, (1, rows), interpolation=cv2.INTER_LINEAR)
    image = np.repeat(bands[:, :, None], 3, axis=2).repeat(columns, axis=1)
    return np.asarray(image * rng.normal(1, 0.03, 3), np.float32)


def _outline(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """A smooth shape of some corners: rounded boxes, wedges, ovals; float32, 0 to 1."""
    mask = np.zeros((rows, columns), np.uint8)
    if rng.random() < 0.3:
        cv2.ellipse(
            mask, (columns // 2, rows // 2), (columns // 2 - 2, rows // 2 - 2), 0, 0, 360, 255, -1
        )
    else:
        cut = rng.uniform(0, 0.45, (4, 2)) * (columns * 0.6, rows)
        corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float64)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        cv2.fillPoly(mask, [(corners + inwards * (cut + 2)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), rng.uniform(0.8, rows / 8))
    return np.asarray(np.clip(soft * 3 - 1, 0, 1), np.float32)


def lamp(rng: np.random.Generator) -> Plate:
    """A head or tail lamp, or a reflector: a shape of one tone, with bulbs and facets."""
    rows, columns = int(rng.integers(34, 110)), int(rng.integers(90, 300))
    image = _blank(rows, columns, _TONES[rng.integers(0, len(_TONES))])
    image *= np.float32(rng.uniform(0.5, 1.1))
    pitch = int(rng.integers(4, 24))
    if rng.random() < 0.6:
        image[:, ::pitch] += np.float32(rng.uniform(-90, 90))
    if rng.random() < 0.4:
        image[::pitch] += np.float32(rng.uniform(-90, 90))
    for _ in range(int(rng.integers(0, 4))):
        centre = (int(rng.uniform(0.1, 0.9) * columns), int(rng.uniform(0.3, 0.7) * rows))
        radius = int(rows * rng.uniform(0.12, 0.45))
        cv2.circle(image, centre, radius, (float(rng.uniform(20, 255)),) * 3, -1, cv2.LINE_AA)
        cv2.circle(image, centre, radius // 2, (float(rng.uniform(20, 255)),) * 3, -1, cv2.LINE_AA)
    if rng.random() < 0.4:
        split = int(rng.uniform(0.2, 0.8) * columns)
        image[:, split:] *= np.float32(rng.uniform(0.4, 1.6))
    if rng.random() < 0.3:
        image += np.float32(rng.uniform(60, 200))
    return Plate(np.clip(image, 0, 255), _outline(rng, rows, columns), "")


def grille(rng: np.random.Generator) -> Plate:
    """A grille or vent: bars of metal over darkness, mostly framed."""
    rows, columns = int(rng.integers(30, 130)), int(rng.integers(120, 340))
    image = _blank(rows, columns, (float(rng.uniform(5, 60)),) * 3)
    metal = _metal(rng, rows, columns)
    bars = np.zeros((rows, columns), np.float32)
    pitch = int(rng.integers(5, 30))
    thick = max(1, int(pitch * rng.uniform(0.2, 0.6)))
    upright = rng.random() < 0.55
    for at in range(0, columns if upright else rows, pitch):
        if upright:
            bars[:, at : at + thick] = 1
        else:
            bars[at : at + thick] = 1
    edge = int(rng.integers(0, 9))
    if edge:
        cv2.rectangle(bars, (0, 0), (columns - 1, rows - 1), 1.0, edge)
    if rng.random() < 0.4:
        middle = columns // 2
        bars[:, middle - edge : middle + edge + 1] = 1
    image += bars[:, :, None] * (metal - image)
    mask = _outline(rng, rows, columns) if rng.random() < 0.5 else np.ones_like(bars)
    return Plate(np.clip(image, 0, 255), mask, "")


def badge(rng: np.random.Generator) -> Plate:
    """A maker's sign or a country's oval: an ellipse with a rim and letters or strokes."""
    rows = int(rng.integers(50, 110))
    columns = int(rows * rng.uniform(1.0, 2.2))
    image = _metal(rng, rows, columns) if rng.random() < 0.4 else _blank(rows, columns, colour(rng))
    if rng.random() < 0.35:
        image[:] = rng.uniform(225, 250)
    centre, axes = (columns // 2, rows // 2), (columns // 2 - 3, rows // 2 - 3)
    ink = (float(rng.uniform(0, 255)),) * 3
    thick = max(1, int(rows * rng.uniform(0.02, 0.1)))
    cv2.ellipse(image, centre, axes, 0, 0, 360, ink, thick, cv2.LINE_AA)
    if rng.random() < 0.65:
        text = words(rng, 5).strip().upper() or "A"
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
        size = 0.7 * columns / max(wide, 20)
        place = (int(0.15 * columns), int(rows / 2 + 11 * size))
        bold = max(1, int(2.5 * size))
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_DUPLEX, size, ink, bold, cv2.LINE_AA)
    else:
        for _ in range(int(rng.integers(1, 5))):
            inner = (int(axes[0] * rng.uniform(0.2, 0.9)), int(axes[1] * rng.uniform(0.2, 0.9)))
            cv2.ellipse(image, centre, inner, rng.uniform(0, 180), 0, 360, ink, thick, cv2.LINE_AA)
    mask = np.zeros((rows, columns), np.float32)
    cv2.ellipse(mask, centre, (axes[0] + 1, axes[1] + 1), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    return Plate(np.clip(image, 0, 255), mask, "")


def name(rng: np.random.Generator) -> Plate:
    """A car's name in raised letters on a strip of bodywork."""
    drawn = lettering(rng, plate_type=False)
    rows, columns = drawn.mask.shape
    ground = _blank(rows, columns, colour(rng))
    if rng.random() < 0.5:
        ground *= np.linspace(rng.uniform(0.6, 1.3), 1, rows, dtype=np.float32)[:, None, None]
    letters = _metal(rng, rows, columns) if rng.random() < 0.5 else drawn.image
    if ground.mean() > _BRIGHT:
        # Dark letters on a white strip would be a plate.
        letters = np.maximum(letters, ground * np.float32(0.6))
    relief = np.roll(drawn.mask, (2, 1), (0, 1))[:, :, None]
    ground *= 1 - np.float32(rng.uniform(0, 0.6)) * relief
    ground += drawn.mask[:, :, None] * (letters - ground)
    return Plate(np.clip(ground, 0, 255), np.ones((rows, columns), np.float32), "")


def sign(rng: np.random.Generator) -> Plate:
    """A shop's or street's sign: a panel with lines of letters that differ in size."""
    rows, columns = int(rng.integers(60, 160)), int(rng.integers(140, 400))
    light = rng.random() < 0.55
    image = _blank(rows, columns, (240.0, 240.0, 240.0) if light else colour(rng))
    y, lines = 6, int(rng.integers(2 if light else 1, 4))
    for _ in range(lines):
        drawn = lettering(rng, plate_type=False)
        high = int(rng.uniform(0.5, 1.1) * (rows - 12) / lines)
        scale = min(high / drawn.mask.shape[0], (columns - 12) / drawn.mask.shape[1])
        size = (max(4, int(drawn.mask.shape[1] * scale)), max(4, int(drawn.mask.shape[0] * scale)))
        mask = cv2.resize(drawn.mask, size, interpolation=cv2.INTER_AREA)[: rows - y]
        x = 6 + int(rng.uniform(0, 1) * (columns - 12 - size[0]))
        tone = np.array(colour(rng), np.float32)
        if light and rng.random() < 0.6:
            tone = np.array([30, 30, 30], np.float32)
        region = image[y : y + len(mask), x : x + size[0]]
        region += mask[:, :, None] * (tone - region)
        y = min(rows - 5, y + high + 2)
    if rng.random() < 0.4:
        edge = int(rng.integers(2, 8))
        cv2.rectangle(image, (0, 0), (columns - 1, rows - 1), colour(rng), edge)
    return Plate(np.clip(image, 0, 255), np.ones((rows, columns), np.float32), "")


def wheel(rng: np.random.Generator) -> Plate:
    """A wheel: tyre, rim and spokes."""
    side = int(rng.integers(80, 160))
    image = _blank(side, side, (30.0, 30.0, 30.0))
    middle, tone = side // 2, float(rng.uniform(90, 230))
    centre = (middle, middle)
    cv2.circle(image, centre, int(0.36 * side), (tone * 0.4,) * 3, -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(0.36 * side), (tone,) * 3, max(1, side // 30), cv2.LINE_AA)
    spokes, start = int(rng.integers(4, 13)), rng.uniform(0, 1)
    for spoke in range(spokes):
        angle = 2 * math.pi * (spoke + start) / spokes
        end = (int(middle + 0.35 * side * math.cos(angle)),
               int(middle + 0.35 * side * math.sin(angle)))  # fmt: skip
        cv2.line(image, centre, end, (tone,) * 3, max(2, side // 20), cv2.LINE_AA)
    mask = np.zeros((side, side), np.float32)
    cv2.circle(mask, centre, int(0.48 * side), 1.0, -1, cv2.LINE_AA)
    return Plate(image, mask, "")
