"""From a drawn scene to a photo: the same as `camera.lens`, made cheap for whole scenes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import compress, lens, rescale

_GRAIN_SIDE = 1024


def develop(
    canvas: NDArray[np.float32], rng: np.random.Generator, detail: float
) -> NDArray[np.uint8]:
    """Blur, resampling, noise and JPEG, each in a part of the photos.

    Args:
        canvas: float32 [h, w, 3], BGR; may be changed.
        rng: source of the strengths.
        detail: height in pixels of a plate in the picture; blur is measured by it.

    Returns:
        uint8 [h, w, 3].
    """
    if rng.random() < 0.1:
        return lens(canvas, rng, detail)
    if rng.random() < 0.4:
        sigma = detail * rng.uniform(0.01, 0.06)
        if sigma > 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
    if rng.random() < 0.4:
        add_grain(canvas, rng, rng.uniform(1, 12))
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        rows, columns = image.shape[:2]
        small = rescale(image, rng, rng.uniform(0.45, 0.9))
        image = np.asarray(cv2.resize(small, (columns, rows)), dtype=np.uint8)
    if rng.random() < 0.25:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 1.5))
        strength = rng.uniform(0.3, 1.5)
        image = np.asarray(cv2.addWeighted(image, 1 + strength, soft, -strength, 0), dtype=np.uint8)
    return compress(image, rng) if rng.random() < 0.55 else image


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """A sheet of noise, of which every photo takes a part."""
    drawn = np.random.default_rng(0).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE, 3), np.float32)
    drawn.flags.writeable = False
    return drawn


def add_grain(canvas: NDArray[np.float32], rng: np.random.Generator, strength: float) -> None:
    """Add a sensor's noise to a picture of at most 1024 pixels a side, in place."""
    rows, columns = canvas.shape[:2]
    top = int(rng.integers(0, _GRAIN_SIDE - rows + 1))
    left = int(rng.integers(0, _GRAIN_SIDE - columns + 1))
    part = _grain()[top : top + rows, left : left + columns]
    if rng.random() < 0.4:
        canvas += part[:, :, :1] * np.float32(strength)
    else:
        canvas += part * np.float32(strength)
