"""What a camera does to a plate: perspective, light, blur, noise, compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.plate import HEIGHT_MM, WIDTH_MM, rounded


@dataclass(frozen=True)
class Pose:
    """How a plate hangs before the camera, in degrees, and the distance in plate widths."""

    yaw: float
    pitch: float
    roll: float
    distance: float


def random_pose(rng: np.random.Generator, strength: float = 1.0) -> Pose:
    """Draw a pose: mostly nearly frontal, sometimes steep, in a few cases extreme."""
    distance = float(rng.uniform(3.0, 14.0))
    chance = rng.random()
    if chance < 0.1 * strength:
        return Pose(
            yaw=float(rng.uniform(-62, 62)),
            pitch=float(rng.uniform(-20, 42)),
            roll=float(rng.uniform(-32, 32)),
            distance=distance,
        )
    if chance > 0.6:
        strength *= 0.35
    return Pose(
        yaw=float(np.clip(rng.normal(0, 24 * strength), -62, 62)),
        pitch=float(np.clip(rng.normal(6 * strength, 12 * strength), -40, 45)),
        roll=float(np.clip(rng.normal(0, 7.5 * strength), -30, 30)),
        distance=distance,
    )


def project(
    pose: Pose, width: float, proportion: float = HEIGHT_MM / WIDTH_MM
) -> NDArray[np.float32]:
    """Corners of the plate in the picture.

    Args:
        pose: of the plate.
        width: of the plate in the picture, corner to corner, in pixels.
        proportion: of the flat plate, height by width.

    Returns:
        float32 [4, 2], x and y in pixels around the plate's centre: top left, top right,
        bottom right, bottom left.
    """
    yaw, pitch, roll = (math.radians(a) for a in (pose.yaw, pose.pitch, pose.roll))
    half_w, half_h = 0.5, 0.5 * proportion
    corners = np.array(
        [[-half_w, -half_h, 0], [half_w, -half_h, 0], [half_w, half_h, 0], [-half_w, half_h, 0]]
    )
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    cr, sr = math.cos(roll), math.sin(roll)
    turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    placed = corners @ (turn_z @ turn_x @ turn_y).T
    flat = placed[:, :2] / (1.0 + placed[:, 2:] / pose.distance)
    span = flat[:, 0].max() - flat[:, 0].min()
    return np.asarray(flat * (width / span), dtype=np.float32)


def surround(
    plate: NDArray[np.float32],
    mask: NDArray[np.float32],
    paint: NDArray[np.float32],
    rng: np.random.Generator,
    margin: tuple[int, int],
) -> NDArray[np.float32]:
    """Mount a plate: a holder, perhaps lettered, on bodywork of one colour.

    Args:
        plate: float32 [h, w, 3].
        mask: float32 [h, w], the plate's outline.
        paint: float32 [3], BGR of the bodywork.
        rng: source of what is drawn.
        margin: pixels added left and right, above and below.

    Returns:
        float32 [h + 2 * margin[1], w + 2 * margin[0], 3].
    """
    rows, columns = plate.shape[:2]
    mx, my = margin
    out = np.empty((rows + 2 * my, columns + 2 * mx, 3), np.float32)
    slope = np.linspace(rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.25), len(out))
    out[:] = paint[None, None] * slope.astype(np.float32)[:, None, None]
    chance = rng.random()
    if chance < 0.75:
        tone = rng.uniform(5, 70) if chance < 0.6 else rng.uniform(90, 250)
        sides = int(rows * rng.uniform(0.0, 0.1))
        above = int(rows * rng.uniform(0.0, 0.1))
        below = int(rows * rng.uniform(0.02, 0.3))
        bottom = my + rows + below
        cv2.rectangle(
            out, (mx - sides, my - above), (mx + columns + sides, bottom), (tone,) * 3, -1
        )
        if below > rows * 0.12 and rng.random() < 0.7:
            _letter(out, mx, my + rows, columns, below, tone, rng)
    if rng.random() < 0.3:
        y = int(rng.integers(0, len(out)))
        high = max(1, int(rows * rng.uniform(0.03, 0.3)))
        out[y : y + high] = rng.uniform(0, 255)
    hole = out[my : my + rows, mx : mx + columns]
    hole += mask[:, :, None] * (plate - hole)
    if chance < 0.75 and rng.random() < 0.45:
        _rim(hole, tone, rng)
    return out


def _rim(plate: NDArray[np.float32], tone: float, rng: np.random.Generator) -> None:
    """Let the holder's rim with its round corners hide the plate's edges, in place."""
    rows, columns = plate.shape[:2]
    left, top, right = (int(rows * v) for v in rng.uniform(0.0, 0.07, 3))
    bottom = int(rows * rng.uniform(0.0, 0.07 if rng.random() < 0.7 else 0.15))
    inner = plate[top : rows - bottom, left : columns - right]
    shown = np.zeros((rows, columns, 1), np.float32)
    radius = rows * rng.uniform(0.02, 0.16)
    shown[top : rows - bottom, left : columns - right, 0] = rounded(
        inner.shape[0], inner.shape[1], 0.0, radius
    )
    shine = np.linspace(rng.uniform(0.8, 1.6), rng.uniform(0.8, 1.2), rows, dtype=np.float32)
    frame = np.float32(tone) * shine[:, None, None]
    plate += (1 - shown) * (frame - plate)


def _letter(
    image: NDArray[np.float32],
    left: int,
    top: int,
    width: int,
    height: int,
    tone: float,
    rng: np.random.Generator,
) -> None:
    """Write a dealer's line into the holder."""
    letters = "ABCDEFGHIKLMNOPRSTUVXYZ 0123456789-."
    count = int(rng.integers(5, 30))
    text = "".join(letters[i] for i in rng.integers(0, len(letters), count))
    size = height / 40
    ink = (255.0 - tone) * rng.uniform(0.6, 1.0)
    place = (left + int(rng.uniform(0, 0.5) * width), top + int(height * 0.8))
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (ink,) * 3, 1, cv2.LINE_AA)


def light(image: NDArray[np.float32], rng: np.random.Generator, harshness: float = 1.0) -> None:
    """Change brightness, contrast and colour in place; sometimes night, shadow or glare.

    Args:
        image: float32 [h, w, 3], BGR.
        rng: source of what the light is like.
        harshness: 0 to 1, how often it is bad.
    """
    chance = rng.random() / max(harshness, 1e-6)
    cast = rng.normal(1.0, 0.07, 3)
    if rng.random() < 0.12:
        cast = np.array([rng.uniform(0.4, 1.0), rng.uniform(0.7, 1.0), 1.0])
    elif rng.random() < 0.1:
        cast = np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.5, 1.0)])
    if chance < 0.06:
        _infra_red(image, rng)
        return
    if rng.random() < 0.1:
        image[:] = image.mean(axis=2, keepdims=True)
    if chance < 0.22:
        gain, lift = rng.uniform(0.12, 0.4), rng.uniform(0, 25)
    elif chance < 0.32:
        gain, lift = rng.uniform(1.0, 1.5), rng.uniform(0, 50)
    elif chance < 0.44:
        gain, lift = rng.uniform(0.25, 0.55), rng.uniform(40, 120)
    else:
        gain, lift = rng.uniform(0.45, 1.1), rng.uniform(-10, 30)
    image *= (gain * cast).astype(np.float32)
    image += np.float32(lift)
    if rng.random() < 0.28:
        _shadow(image, rng)
    if rng.random() < 0.08 * harshness:
        _glare(image, rng)


def _infra_red(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A flash by night: no colour, a glowing plate whose strokes grow thin, dark ground."""
    grey = image.mean(axis=2, keepdims=True)
    bright = np.clip(grey - np.float32(rng.uniform(90, 150)), 0, None)
    halo = cv2.GaussianBlur(bright, (0, 0), max(0.5, image.shape[0] * rng.uniform(0.01, 0.03)))
    glow = bright * np.float32(rng.uniform(0.8, 2.2))
    glow += halo[:, :, None] * np.float32(rng.uniform(0.2, 1.0))
    image[:] = grey * np.float32(rng.uniform(0.15, 0.5)) + glow


def _shadow(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Darken one side of a straight edge, soft or hard, in place."""
    rows, columns = image.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None] * np.float32(math.cos(angle))
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None] * np.float32(math.sin(angle))
    away = (x + y + np.float32(rng.uniform(-0.7, 0.7))) * np.float32(math.exp(rng.uniform(0, 4)))
    ramp = 1 / (1 + np.exp(-np.clip(away, -30, 30)))
    image *= (1 - ramp * np.float32(rng.uniform(0.1, 0.7)))[:, :, None]


def _glare(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Add a bright spot or streak, in place."""
    rows, columns = image.shape[:2]
    radius = rng.uniform(0.05, 0.4) * columns
    flat = rng.uniform(0.3, 3.0)
    x = (np.arange(columns, dtype=np.float32)[None] - np.float32(rng.uniform(0, columns))) / radius
    y = (np.arange(rows, dtype=np.float32)[:, None] - np.float32(rng.uniform(0, rows))) / radius
    tilt = np.float32(rng.normal(0, 0.5))
    spot = np.exp(-((x + tilt * y) ** 2 + (np.float32(flat) * y) ** 2) / 2)
    image += (spot * np.float32(rng.uniform(40, 190))).astype(np.float32)[:, :, None]


def lens(image: NDArray[np.float32], rng: np.random.Generator, detail: float) -> NDArray[np.uint8]:
    """Blur, sensor noise, sharpening and JPEG, as a camera leaves them.

    Args:
        image: float32 [h, w, 3], BGR.
        rng: source of the strengths.
        detail: height in pixels of a plate in the picture; blur is measured by it.

    Returns:
        uint8 [h, w, 3].
    """
    if rng.random() < 0.55:
        sigma = detail * rng.uniform(0.005, 0.05 if rng.random() < 0.85 else 0.075)
        if sigma > 0.25:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
    if rng.random() < 0.15:
        image = _move(image, rng, detail * rng.uniform(0.05, 0.18))
    sharpen = rng.random() < 0.25
    if sharpen:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.6))
        image = image + (image - soft) * np.float32(rng.uniform(0.3, 2.2))
    if rng.random() < 0.5:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        if rng.random() < 0.5:
            grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 1.0))
        most = min(14.0, 1.5 + 0.25 * float(image.std()))
        image = image + grain * np.float32(rng.uniform(1, most))
    shown = np.clip(image, 0, 255).astype(np.uint8)
    return compress(shown, rng) if rng.random() < 0.7 else shown


def compress(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What JPEG of some quality leaves of an image uint8 [h, w, 3]."""
    quality = int(rng.uniform(30, 95))
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)


_FILTERS = (
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_LANCZOS4,
    cv2.INTER_AREA,
    cv2.INTER_NEAREST,
)


def rescale(image: NDArray[np.uint8], rng: np.random.Generator, factor: float) -> NDArray[np.uint8]:
    """Enlarge or shrink an image by about `factor` with one of the usual filters."""
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    chosen = _FILTERS[rng.choice(len(_FILTERS), p=[0.35, 0.3, 0.1, 0.17, 0.08])]
    return np.asarray(cv2.resize(image, size, interpolation=chosen), dtype=np.uint8)


def _move(
    image: NDArray[np.float32], rng: np.random.Generator, length: float
) -> NDArray[np.float32]:
    """Blur along a line, mostly level."""
    size = max(3, round(length) | 1)
    angle = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.uniform(0, math.pi)
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    dx, dy = math.cos(angle) * middle, math.sin(angle) * middle
    start = (round(middle - dx), round(middle - dy))
    cv2.line(kernel, start, (round(middle + dx), round(middle + dy)), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), dtype=np.float32)
