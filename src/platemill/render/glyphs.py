"""The characters of Russian plates, drawn as strokes of constant width.

Proportions follow the drawings of GOST R 50577 (digits 76 mm, letters 58 mm high); the
strokes are our own. A glyph lives in the unit square: (0, 0) is the top left end of a
stroke's centre line, (1, 1) the bottom right. Strokes that leave the square are cut off at
the glyph's outline, which gives slanted legs their level ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Stroke = list[tuple[float, float]]

_OVERSAMPLE = 4
_SUBPIXEL_BITS = 4

WIDTHS = {
    "0": 45.0, "1": 31.0, "2": 44.0, "3": 43.0, "4": 46.0,
    "5": 43.0, "6": 45.0, "7": 44.0, "8": 45.0, "9": 45.0,
    "A": 46.0, "B": 40.0, "E": 40.0, "K": 43.0, "M": 51.0, "H": 41.0,
    "O": 45.0, "P": 40.0, "C": 42.0, "T": 42.0, "Y": 43.0, "X": 47.0,
    "D": 42.0, "R": 42.0, "U": 41.0, "S": 40.0,
}  # fmt: skip
"""Outer widths in millimetres: digits at 76 mm height, letters at 58 mm."""


def _arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float, power: float = 2.0
) -> Stroke:
    """Points of a superellipse's arc; degrees, clockwise from the right, y downwards."""
    points = []
    steps = max(6, int(abs(end - start) / 9))
    for angle in np.linspace(math.radians(start), math.radians(end), steps):
        c, s = math.cos(angle), math.sin(angle)
        points.append(
            (
                x + rx * math.copysign(abs(c) ** (2 / power), c),
                y + ry * math.copysign(abs(s) ** (2 / power), s),
            )
        )
    return points


def _six() -> list[Stroke]:
    ring = _arc(0.5, 0.68, 0.5, 0.32, 0, 360, 2.2)
    stem = [(0.86, -0.25), (0.62, 0.0), (0.14, 0.49), (0.03, 0.6), (0.0, 0.68)]
    return [ring, stem]


def _nine() -> list[Stroke]:
    return [[(1 - x, 1 - y) for x, y in stroke] for stroke in _six()]


def _strokes(character: str) -> list[Stroke]:
    shapes: dict[str, Callable[[], list[Stroke]]] = {
        "0": lambda: [_arc(0.5, 0.5, 0.5, 0.5, 0, 360, 2.5)],
        "1": lambda: [[(1.0, -0.2), (1.0, 1.2)], [(1.0, 0.0), (-0.35, 0.34)]],
        "2": lambda: [
            [
                *_arc(0.5, 0.28, 0.5, 0.28, 190, 375, 2.2),
                (0.9, 0.46),
                (0.0, 1.0),
                (1.3, 1.0),
            ]
        ],
        "3": lambda: [
            [(-0.2, 0.0), (0.93, 0.0), (0.42, 0.4)],
            [(0.42, 0.4), *_arc(0.45, 0.69, 0.55, 0.31, 270, 510, 2.2)],
        ],
        "4": lambda: [
            [(0.66, -0.12), (0.6, 0.0), (0.0, 0.77), (1.3, 0.77)],
            [(0.74, 0.5), (0.74, 1.2)],
        ],
        "5": lambda: [
            [(1.2, 0.0), (0.13, 0.0), (0.08, 0.42)],
            [(0.08, 0.44), *_arc(0.46, 0.68, 0.54, 0.32, 230, 510, 2.2)],
        ],
        "6": _six,
        "7": lambda: [[(-0.3, 0.0), (0.97, 0.0), (0.3, 1.0), (0.2, 1.2)]],
        "8": lambda: [
            _arc(0.5, 0.225, 0.43, 0.225, 0, 360, 2.2),
            _arc(0.5, 0.725, 0.5, 0.275, 0, 360, 2.2),
        ],
        "9": _nine,
        "A": lambda: [
            [(-0.07, 1.2), (0.0, 1.0), (0.5, 0.0), (1.0, 1.0), (1.07, 1.2)],
            [(0.18, 0.7), (0.82, 0.7)],
        ],
        "B": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(0, 0), (0.55, 0.0), *_arc(0.55, 0.23, 0.36, 0.23, -90, 90, 2.3), (0.0, 0.46)],
            [(0, 0.46), (0.6, 0.46), *_arc(0.6, 0.73, 0.4, 0.27, -90, 90, 2.3), (0.0, 1.0)],
        ],
        "E": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(0.0, 0.0), (1.2, 0.0)],
            [(0.0, 0.48), (1.0, 0.48)],
            [(0.0, 1.0), (1.2, 1.0)],
        ],
        "K": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(0.0, 0.66), (0.93, 0.0), (1.2, -0.2)],
            [(0.34, 0.4), (1.0, 1.0), (1.12, 1.2)],
        ],
        "M": lambda: [
            [(0.0, 1.2), (0.0, 0.0), (0.5, 0.68), (1.0, 0.0), (1.0, 1.2)],
        ],
        "H": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(1.0, -0.2), (1.0, 1.2)],
            [(0.0, 0.48), (1.0, 0.48)],
        ],
        "O": lambda: [_arc(0.5, 0.5, 0.5, 0.5, 0, 360, 2.3)],
        "P": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(0, 0), (0.6, 0.0), *_arc(0.6, 0.275, 0.4, 0.275, -90, 90, 2.3), (0.0, 0.55)],
        ],
        "C": lambda: [_arc(0.5, 0.5, 0.5, 0.5, 40, 320, 2.3)],
        "T": lambda: [[(-0.3, 0.0), (1.3, 0.0)], [(0.5, 0.0), (0.5, 1.2)]],
        "Y": lambda: [
            [(-0.07, -0.14), (0.0, 0.0), (0.5, 0.66)],
            [(1.07, -0.14), (1.0, 0.0), (0.38, 0.9), (0.1, 1.2)],
        ],
        "X": lambda: [
            [(-0.1, -0.12), (0.02, 0.0), (1.0, 1.0), (1.1, 1.12)],
            [(1.1, -0.12), (0.98, 0.0), (0.0, 1.0), (-0.1, 1.12)],
        ],
        "D": lambda: [
            [(0.0, 0.0), (0.4, 0.0), *_arc(0.4, 0.5, 0.6, 0.5, -90, 90, 2.4), (0.0, 1.0)],
            [(0.0, -0.2), (0.0, 1.2)],
        ],
        "R": lambda: [
            [(0.0, -0.2), (0.0, 1.2)],
            [(0, 0), (0.6, 0.0), *_arc(0.6, 0.26, 0.4, 0.26, -90, 90, 2.3), (0.0, 0.52)],
            [(0.5, 0.52), (1.0, 1.0), (1.15, 1.2)],
        ],
        "U": lambda: [
            [(0.0, -0.2), (0.0, 0.6), *_arc(0.5, 0.6, 0.5, 0.4, 180, 0, 2.2), (1.0, -0.2)]
        ],
        "S": lambda: [
            [
                *_arc(0.5, 0.25, 0.5, 0.25, 330, 90, 2.2),
                *_arc(0.5, 0.75, 0.5, 0.25, -90, 150, 2.2),
            ]
        ],
    }  # fmt: skip
    return shapes[character]()


@lru_cache(maxsize=16384)
def glyph(
    character: str, width: float, height: float, stroke: float, scale: float
) -> NDArray[np.float32]:
    """Draw one character.

    Args:
        character: a digit, a plate letter, or one of `DRSU`.
        width: outer width in millimetres.
        height: outer height in millimetres.
        stroke: width of the stroke in millimetres.
        scale: pixels per millimetre.

    Returns:
        float32 [h, w], 0 to 1, the part of each pixel that the character covers. Shared
        between callers: do not write to it.
    """
    columns = max(1, math.ceil(width * scale))
    rows = max(1, math.ceil(height * scale))
    fine = scale * _OVERSAMPLE
    canvas = np.zeros((rows * _OVERSAMPLE, columns * _OVERSAMPLE), np.uint8)
    for path in _strokes(character):
        points = np.array(path, np.float64)
        points[:, 0] = stroke / 2 + points[:, 0] * (width - stroke)
        points[:, 1] = stroke / 2 + points[:, 1] * (height - stroke)
        _draw(canvas, points * fine, stroke * fine / 2)
    canvas[math.ceil(height * fine) :] = 0
    canvas[:, math.ceil(width * fine) :] = 0
    small = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    out = np.asarray(small, np.float32) * np.float32(1 / 255)
    out.flags.writeable = False
    return out


def _draw(canvas: NDArray[np.uint8], points: NDArray[np.float64], half: float) -> None:
    """Fill a polyline of constant width: flat ends, round joints."""
    unit = 1 << _SUBPIXEL_BITS
    for start, end in pairwise(points):
        along = end - start
        length = float(np.hypot(*along))
        if length < 1e-9:
            continue
        normal = np.array([-along[1], along[0]]) / length * half
        quad = np.stack([start + normal, end + normal, end - normal, start - normal])
        corners = np.rint(quad * unit).astype(np.int32)
        cv2.fillConvexPoly(canvas, corners, 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    for x, y in points[1:-1]:
        centre = (round(float(x) * unit), round(float(y) * unit))
        cv2.circle(canvas, centre, round(half * unit), 255, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
