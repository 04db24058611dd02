"""Streets as a fixed camera sees them, for the demo archive: 1280 x 720."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import Pose, project, surround
from platemill.render.clutter import colour, draw_vehicle, words
from platemill.render.paste import paste
from platemill.render.plate import draw_plate

WIDTH, HEIGHT = 1280, 720

_PAINTS = (
    (225, 225, 225), (40, 40, 42), (150, 152, 155), (95, 95, 100), (40, 35, 150),
    (130, 60, 25), (60, 75, 40), (110, 130, 150), (30, 90, 170), (200, 190, 170),
)  # fmt: skip


@dataclass(frozen=True)
class Car:
    """A car: its plate's text and the number of its colour."""

    plate: str
    paint: int


@dataclass(frozen=True)
class Seen:
    """A car in a picture: its plate's box, xmin, ymin, xmax, ymax in pixels."""

    car: Car
    box: tuple[float, float, float, float]


def new_car(plate: str, rng: np.random.Generator) -> Car:
    """Give a plate a car of some colour."""
    return Car(plate, int(rng.integers(0, len(_PAINTS))))


def draw_street(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the empty street before a camera: float32 [720, 1280, 3], BGR."""
    canvas = np.empty((HEIGHT, WIDTH, 3), np.float32)
    horizon = int(rng.uniform(190, 290))
    sky = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None]
    canvas[:horizon] = np.array([235, 200, 160]) * (1 - sky) + np.array([240, 235, 228]) * sky
    ground = rng.uniform(75, 125)
    ramp = np.linspace(0.9, 1.15, HEIGHT - horizon, dtype=np.float32)[:, None, None]
    canvas[horizon:] = ground * ramp
    x = -20
    while x < WIDTH:
        x += _house(canvas, rng, x, horizon) + int(rng.integers(0, 40))
    _road(canvas, rng, horizon)
    for cells in (24, 90, 320):
        grain = rng.standard_normal((cells * 9 // 16, cells, 1), dtype=np.float32)
        canvas += cv2.resize(grain, (WIDTH, HEIGHT))[:, :, None] * np.float32(rng.uniform(2, 6))
    return canvas


def _house(canvas: NDArray[np.float32], rng: np.random.Generator, x: int, ground: int) -> int:
    """Draw a house with windows and perhaps a shop's sign; returns its width."""
    wide, high = int(rng.integers(120, 320)), int(rng.integers(80, ground + 60))
    top = ground - high
    wall, glass = colour(rng), tuple(float(v) for v in rng.uniform(40, 140, 3))
    cv2.rectangle(canvas, (x, top), (x + wide, ground + 12), wall, -1)
    step_x, step_y = int(rng.integers(28, 52)), int(rng.integers(34, 56))
    for wy in range(top + 12, ground - 50, step_y):
        for wx in range(x + 10, x + wide - step_x // 2, step_x):
            cv2.rectangle(canvas, (wx, wy), (wx + step_x // 2, wy + step_y // 2), glass, -1)
    if rng.random() < 0.6:
        y = ground - 40
        cv2.rectangle(canvas, (x + 8, y), (x + wide - 8, y + 24), colour(rng), -1)
        cv2.putText(
            canvas, words(rng, 12), (x + 16, y + 19), cv2.FONT_HERSHEY_DUPLEX, 0.65, colour(rng),
            1, cv2.LINE_AA,
        )  # fmt: skip
    return wide


def _road(canvas: NDArray[np.float32], rng: np.random.Generator, horizon: int) -> None:
    """Draw the road with its kerbs and lane marks, running to a vanishing point."""
    far = int(rng.uniform(0.4, 0.6) * WIDTH)
    corners = np.array(
        [[far - 60, horizon], [far + 60, horizon], [WIDTH + 250, HEIGHT], [-250, HEIGHT]]
    )
    cv2.fillPoly(canvas, [corners], (82.0, 80.0, 78.0), cv2.LINE_AA)
    for lane in (-0.33, 0.33):
        for near in np.arange(0.05, 1.0, 0.16):
            a, b = near**1.6, min(1.0, near + 0.09) ** 1.6
            points = [
                (int(far + lane * (120 + 1600 * t)), int(horizon + (HEIGHT - horizon) * t))
                for t in (a, b)
            ]
            cv2.line(canvas, points[0], points[1], (205.0, 208.0, 210.0), 1 + int(7 * a))


def place_cars(
    canvas: NDArray[np.float32], cars: list[Car], rng: np.random.Generator
) -> list[Seen]:
    """Draw cars side by side on the street, in place; returns where their plates are.

    Plates come out 90 to 230 pixels wide.
    """
    seen: list[Seen] = []
    slots = max(1, len(cars))
    for index, car in enumerate(cars):
        width = rng.uniform(90, 230 if slots == 1 else 170)
        lane = (index + 0.5) / slots * WIDTH
        centre = np.array([lane + rng.uniform(-60, 60), rng.uniform(430, 600)])
        pose = Pose(
            yaw=float(rng.uniform(-24, 24)),
            pitch=float(rng.uniform(0, 16)),
            roll=float(rng.uniform(-4, 4)),
            distance=float(rng.uniform(5, 14)),
        )
        quad = project(pose, width) + centre.astype(np.float32)
        low, high = quad.min(axis=0), quad.max(axis=0)
        box = np.concatenate([low, high])
        paint = np.array(_PAINTS[car.paint], np.float32)
        draw_vehicle(canvas, box, paint, rng)
        plate = draw_plate(car.plate, rng, 1.0)
        rows, columns = plate.mask.shape
        mx, my = columns // 12, rows // 3
        flat = surround(plate.image, plate.mask, paint, rng, (mx, my))
        mask = np.zeros(flat.shape[:2], np.float32)
        mask[1:-1, 1:-1] = 1
        paste(canvas, flat, mask, (mx, my, columns, rows), quad)
        seen.append(Seen(car, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
    return seen


def expose(canvas: NDArray[np.float32], hour: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the picture: daylight by the hour, a little blur, sensor noise; uint8 BGR."""
    sun = max(0.0, math.sin((hour - 5.0) / 16.0 * math.pi)) if 5 < hour < 21 else 0.0
    gain = 0.38 + 0.62 * sun**0.6
    warm = np.array([1 - 0.1 * (1 - sun), 1.0, 1 + 0.06 * (1 - sun)]) * gain
    sigma = rng.uniform(0.3, 0.9)
    image = cv2.GaussianBlur(canvas, (0, 0), sigma)
    image *= (warm * rng.uniform(0.9, 1.08)).astype(np.float32)
    noise = rng.integers(-100, 101, (HEIGHT // 2, WIDTH // 2, 1), np.int8).astype(np.float32)
    strength = rng.uniform(1.0, 3.0) + 4.0 * (1 - gain)
    fine = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    image += (fine * np.float32(strength / 100))[:, :, None]
    return np.asarray(np.clip(image, 0, 255), dtype=np.uint8)
