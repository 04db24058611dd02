"""Rendered streets whose plates are known."""

from __future__ import annotations

import cv2
import numpy as np

from platemill.render.street import draw_street, expose, new_car, place_cars


def street_with(plates: list[str], seed: int) -> tuple[np.ndarray, list[tuple[float, ...]]]:
    """A daylight street, uint8 [720, 1280, 3] BGR, with these plates from left to right.

    Returns:
        The image and the plates' boxes: xmin, ymin, xmax, ymax in pixels.
    """
    rng = np.random.default_rng(seed)
    canvas = draw_street(rng)
    seen = place_cars(canvas, [new_car(plate, rng) for plate in plates], rng)
    return expose(canvas, 13.0, rng), [one.box for one in seen]


def streets_of_many_sizes() -> list[np.ndarray]:
    """Streets with none to six plates, from a thumbnail to full HD, uint8 BGR; some upright."""
    plates = ["A123BC77", "K904OT197", "M571EX50", "P308YC174", "T642HK36", "B017AM799"]
    photos = []
    for count in range(len(plates) + 1):
        street, _ = street_with(plates[:count], seed=20 + count)
        photos += [
            street,
            cv2.resize(street, (1920, 1080), interpolation=cv2.INTER_CUBIC),
            cv2.resize(street, (853, 480), interpolation=cv2.INTER_AREA),
            np.ascontiguousarray(street[200:, 300:780]),
        ]
    photos.append(cv2.resize(photos[-4], (96, 54), interpolation=cv2.INTER_AREA))
    return photos
