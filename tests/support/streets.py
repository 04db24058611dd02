"""Rendered streets whose plates are known."""

from __future__ import annotations

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
