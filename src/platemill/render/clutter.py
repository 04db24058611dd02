"""Things that are not plates: walls, lettering, signs, grilles, and vehicles without plates."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from platemill.render.glyphs import WIDTHS
from platemill.render.plate import Plate, stamp

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
)
_LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789abcdefghiklmnoprstuvz-. "


def colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of streets: mostly greyish, of any brightness, sometimes strong."""
    grey = rng.uniform(5, 250)
    spread = 0.12 if rng.random() < 0.7 else 0.6
    b, g, r = np.clip(grey * rng.normal(1, spread, 3), 0, 255)
    return float(b), float(g), float(r)


def words(rng: np.random.Generator, longest: int) -> str:
    """A line of letters, digits and gaps that spells nothing."""
    count = int(rng.integers(2, longest))
    return "".join(_LETTERS[i] for i in rng.integers(0, len(_LETTERS), count))


def draw_clutter(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Draw a background of many overlapping things: float32 [height, width, 3]."""
    canvas = _noise(rng, width, height)
    for _ in range(int(rng.integers(8, 45))):
        chance = rng.random()
        x, y = int(rng.uniform(-0.1, 1) * width), int(rng.uniform(-0.1, 1) * height)
        size = float(np.exp(rng.uniform(np.log(6), np.log(0.6 * width))))
        if chance < 0.3:
            _panel(canvas, rng, x, y, size)
        elif chance < 0.5:
            _write(canvas, rng, x, y, rng.uniform(0.25, 1.6))
        elif chance < 0.62:
            _stripes(canvas, rng, x, y, size)
        elif chance < 0.75:
            axes = (max(1, int(size / 2)), max(1, int(size * rng.uniform(0.1, 0.5))))
            angle = rng.uniform(0, 180)
            thick = -1 if rng.random() < 0.7 else int(rng.integers(1, 5))
            cv2.ellipse(canvas, (x, y), axes, angle, 0, 360, colour(rng), thick, cv2.LINE_AA)
        elif chance < 0.88:
            corners = (np.array([x, y]) + rng.normal(0, size / 2, (4, 2))).astype(np.int32)
            cv2.fillPoly(canvas, [corners], colour(rng), cv2.LINE_AA)
        else:
            end = (x + int(rng.normal(0, size)), y + int(rng.normal(0, size)))
            cv2.line(canvas, (x, y), end, colour(rng), int(rng.integers(1, 7)), cv2.LINE_AA)
    half = rng.standard_normal((height // 2 + 1, width // 2 + 1), dtype=np.float32)
    grain = cv2.resize(half, (width, height), interpolation=cv2.INTER_NEAREST)
    canvas += grain[:, :, None] * np.float32(rng.uniform(0, 14))
    return canvas


def _noise(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """A ground of soft patches, drawn at half its size: float32 [height, width, 3]."""
    columns, rows = max(1, width // 2), max(1, height // 2)
    canvas = np.empty((rows, columns, 3), np.float32)
    top, bottom = np.array(colour(rng)), np.array(colour(rng))
    ramp = np.linspace(0, 1, rows)[:, None, None]
    canvas[:] = top + (bottom - top) * ramp
    for cells in (4, 12, 40, 120):
        coarse = rng.standard_normal((max(2, cells * height // width), cells, 3), dtype=np.float32)
        if rng.random() < 0.85:
            coarse[:] = coarse[:, :, :1]
        smooth = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
        canvas += smooth * np.float32(rng.uniform(0, 28))
    return np.asarray(cv2.resize(canvas, (width, height)), dtype=np.float32)


def _panel(
    canvas: NDArray[np.float32], rng: np.random.Generator, x: int, y: int, size: float
) -> None:
    """Draw a rectangle: window, door, sign, sticker; perhaps framed, perhaps lettered."""
    high = size * rng.uniform(0.15, 1.4)
    end = (x + int(size), y + int(high))
    cv2.rectangle(canvas, (x, y), end, colour(rng), -1)
    if rng.random() < 0.4:
        cv2.rectangle(canvas, (x, y), end, colour(rng), int(rng.integers(1, 4)))
    if rng.random() < 0.35:
        lines = int(rng.integers(1, 4))
        for line in range(lines):
            base = y + int(high * (line + 0.8) / lines)
            _write(canvas, rng, x + 2, base, high / lines / 40)


def _write(
    canvas: NDArray[np.float32], rng: np.random.Generator, x: int, y: int, size: float
) -> None:
    font = _FONTS[rng.integers(0, len(_FONTS))]
    thick = max(1, round(size * rng.uniform(0.8, 3.5)))
    place = (x, y)
    cv2.putText(canvas, words(rng, 14), place, font, size, colour(rng), thick, cv2.LINE_AA)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, which needs no file on the machine."""
    return ImageFont.load_default(size)


def lettering(rng: np.random.Generator, plate_type: bool = True) -> Plate:
    """Draw a line of text without a ground of its own, such as a name on a car's boot.

    The image holds the text's colour, the mask its shape. `plate_type` allows the type of
    plates, which on a ground would be a plate.
    """
    size = int(rng.choice([30, 40, 52]))
    text = words(rng, 16).strip() or "A"
    mask = np.zeros((size + 16, 40 * len(text) + 16), np.float32)
    if plate_type and rng.random() < 0.4:
        x = 8.0 + 22
        for character in text.upper():
            if character in WIDTHS:
                stamp(mask, character, x, size + 6.0, float(size), size * 0.15, 1.0, size / 90)
            x += size * 0.62
        columns = min(mask.shape[1], int(x))
    elif rng.random() < 0.6:
        drawing = Image.new("L", (mask.shape[1], mask.shape[0]))
        pen = ImageDraw.Draw(drawing)
        bold = int(rng.integers(0, 3))
        pen.text((6, 2), text, fill=255, font=_font(size), stroke_width=bold)
        mask[:] = np.asarray(drawing, np.float32) / 255
        columns = min(mask.shape[1], int(pen.textlength(text, font=_font(size))) + 12)
    else:
        font = _FONTS[rng.integers(0, len(_FONTS))]
        thick = int(rng.integers(1, 8))
        (columns, _), _ = cv2.getTextSize(text, font, size / 30, thick)
        columns = min(mask.shape[1], columns + 8)
        cv2.putText(mask, text, (4, size + 4), font, size / 30, 1.0, thick, cv2.LINE_AA)
    mask = np.ascontiguousarray(mask[:, : max(columns, 24)])
    image = np.empty((*mask.shape, 3), np.float32)
    image[:] = colour(rng)
    if rng.random() < 0.35:
        image[:] = 255.0 if rng.random() < 0.6 else 10.0
    return Plate(image, mask * np.float32(rng.uniform(0.5, 1.0)), "")


def _stripes(
    canvas: NDArray[np.float32], rng: np.random.Generator, x: int, y: int, size: float
) -> None:
    """Draw a grille, a fence, blinds or a zebra crossing."""
    high = size * rng.uniform(0.15, 1.0)
    pitch = rng.uniform(2.5, max(4.0, size / 5))
    thick = max(1, int(pitch * rng.uniform(0.2, 0.7)))
    tone = colour(rng)
    if rng.random() < 0.6:
        cv2.rectangle(canvas, (x, y), (x + int(size), y + int(high)), colour(rng), -1)
    if rng.random() < 0.5:
        for offset in np.arange(0, size, pitch):
            at = x + int(offset)
            cv2.line(canvas, (at, y), (at, y + int(high)), tone, thick)
    else:
        for offset in np.arange(0, high, pitch):
            at = y + int(offset)
            cv2.line(canvas, (x, at), (x + int(size), at), tone, thick)


def draw_vehicle(
    canvas: NDArray[np.float32],
    box: NDArray[np.float32],
    paint: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Draw a car's front or rear around the place of a plate, in place.

    Args:
        canvas: float32 [h, w, 3].
        box: float32 [4], where the plate will be, in pixels.
        paint: float32 [3], BGR of the body.
        rng: source of what is drawn.
    """
    w = float(box[2] - box[0])
    cx, cy = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    body = w * rng.uniform(2.6, 4.2)
    top, bottom = cy - w * rng.uniform(1.2, 2.6), cy + w * rng.uniform(0.25, 0.9)
    skew = rng.uniform(-0.5, 0.5) * w
    left, right = cx - body / 2 + skew, cx + body / 2 + skew
    waist = top + (bottom - top) * rng.uniform(0.4, 0.55)
    inset = body * rng.uniform(0.04, 0.16)
    tone = (float(paint[0]), float(paint[1]), float(paint[2]))
    shade = tuple(0.35 * c for c in tone)
    glass = tuple(float(c) for c in rng.uniform(15, 120, 3))
    _poly(canvas, [(left, bottom), (right, bottom), (right, bottom + w * 0.2),
                   (left, bottom + w * 0.2)], (15.0, 15.0, 15.0))  # fmt: skip
    _poly(canvas, [(left, waist), (left + inset, top), (right - inset, top), (right, waist),
                   (right, bottom), (left, bottom)], tone)  # fmt: skip
    _poly(canvas, [(left + inset * 1.1, waist - w * 0.1), (left + inset * 1.9, top + w * 0.12),
                   (right - inset * 1.9, top + w * 0.12),
                   (right - inset * 1.1, waist - w * 0.1)], glass)  # fmt: skip
    lamp = (40.0, 40.0, 190.0) if rng.random() < 0.5 else (200.0, 205.0, 210.0)
    lh, lw = w * rng.uniform(0.15, 0.45), w * rng.uniform(0.25, 0.7)
    ly = waist + w * rng.uniform(0.05, 0.3)
    for lx in (left + body * 0.02, right - body * 0.02 - lw):
        _poly(canvas, [(lx, ly), (lx + lw, ly), (lx + lw, ly + lh), (lx, ly + lh)], lamp)
    if rng.random() < 0.6:
        gy = waist + w * 0.1
        gx = int(cx + skew - w * 0.6)
        wide = w * rng.uniform(0.8, 1.4)
        high = max(2.0, (cy - gy) * rng.uniform(0.3, 0.8))
        for offset in np.arange(0, high, max(2.0, w * rng.uniform(0.03, 0.1))):
            at = int(gy + offset)
            cv2.line(canvas, (gx, at), (gx + int(wide), at), shade, max(1, int(w * 0.02)))
    if rng.random() < 0.5:
        spot = (int(cx + skew + rng.uniform(-1, 0.2) * w), int(waist + w * rng.uniform(0.1, 0.5)))
        text = words(rng, 9)
        size = w * rng.uniform(0.002, 0.007)
        cv2.putText(canvas, text, spot, _FONTS[1], size, colour(rng), max(1, int(size * 2)),
                    cv2.LINE_AA)  # fmt: skip
    if rng.random() < 0.6:
        _poly(canvas, [(left, cy - w * 0.2), (right, cy - w * 0.2), (right, cy + w * 0.22),
                       (left, cy + w * 0.22)], shade)  # fmt: skip


def _poly(
    canvas: NDArray[np.float32],
    corners: list[tuple[float, float]],
    tone: tuple[float, ...],
) -> None:
    cv2.fillPoly(canvas, [np.array(corners).astype(np.int32)], tone, cv2.LINE_AA)


def decoy(rng: np.random.Generator) -> Plate:
    """Draw something that might be taken for a plate and is none."""
    high, wide = int(rng.integers(30, 130)), int(rng.integers(60, 320))
    image = np.empty((high, wide, 3), np.float32)
    image[:] = colour(rng)
    mask = np.ones((high, wide), np.float32)
    chance = rng.random()
    if chance < 0.15:
        tone = rng.uniform(150, 250)
        image[:] = tone
    elif chance < 0.8:
        lines = 1 if rng.random() < 0.4 else int(rng.integers(2, 5))
        ink = colour(rng)
        for line in range(lines):
            size = high / lines / 45
            font = _FONTS[rng.integers(0, len(_FONTS))]
            place = (int(rng.uniform(0, 0.2) * wide), int(high * (line + 0.8) / lines))
            thick = max(1, round(size * rng.uniform(1, 4)))
            cv2.putText(image, words(rng, 16), place, font, size, ink, thick, cv2.LINE_AA)
    else:
        for x in range(0, wide, int(rng.integers(5, 30))):
            cv2.line(image, (x, 0), (x, high), colour(rng), int(rng.integers(1, 8)))
    return Plate(np.clip(image, 0, 255), mask, "")
