"""Flat pictures laid into a scene under a perspective."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def paste(
    canvas: NDArray[np.float32],
    flat: NDArray[np.float32],
    mask: NDArray[np.float32],
    inner: tuple[int, int, int, int],
    quad: NDArray[np.float32],
) -> None:
    """Warp a flat picture onto the canvas in place.

    Args:
        canvas: float32 [H, W, 3].
        flat: float32 [h, w, 3].
        mask: float32 [h, w], 0 to 1, what of it is pasted.
        inner: left, top, width and height of the part of `flat` that `quad` belongs to.
        quad: float32 [4, 2], where the inner part's corners come to lie.
    """
    left, top, columns, rows = inner
    span = quad.max(axis=0) - quad.min(axis=0)
    shrink = columns / max(1.0, float(span[0]))
    if shrink > 1.15:
        flat = cv2.GaussianBlur(flat, (0, 0), 0.42 * shrink)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.42 * shrink)
    reach = 0.5 * float(span.max()) + 3
    height, width = canvas.shape[:2]
    x0, y0 = (max(0, int(v - reach)) for v in quad.min(axis=0))
    x1, y1 = int(quad[:, 0].max() + reach), int(quad[:, 1].max() + reach)
    x1, y1 = min(width, x1), min(height, y1)
    source = np.array(
        [[left, top], [left + columns, top], [left + columns, top + rows], [left, top + rows]],
        np.float32,
    )
    target = (quad - (x0, y0)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    size = (x1 - x0, y1 - y0)
    warped = cv2.warpPerspective(flat, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(mask, matrix, size, borderValue=0.0)[:, :, None]
    region = canvas[y0:y1, x0:x1]
    region += cover * (warped - region)
