"""Photos with labelled plates, as backgrounds and positives for the detector's training.

A folder holds photos and a `labels.csv` with the columns `file, xmin, ymin, xmax, ymax` in
pixels of the photo (others are ignored), one row a plate.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Photo = tuple[NDArray[np.uint8], NDArray[np.float32]]

_HELD_SIDE = 960


class Photos:
    """Labelled photos held in memory, at most 960 pixels long, as JPEG bytes.

    Raises:
        FileNotFoundError: the folder has no `labels.csv`, or names a photo that is absent.
    """

    def __init__(self, folder: Path) -> None:
        rows: dict[str, list[list[float]]] = defaultdict(list)
        with (folder / "labels.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                sides = [float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
                rows[row["file"]].append(sides)
        self._held: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
        for name, boxes in sorted(rows.items()):
            image = cv2.imread(str(folder / name))
            if image is None:
                raise FileNotFoundError(f"{folder / name} is named in labels.csv: not readable")
            scale = min(1.0, _HELD_SIDE / max(image.shape[:2]))
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            _, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 92])
            self._held.append((packed, np.array(boxes, np.float32) * np.float32(scale)))

    def draw(self, rng: np.random.Generator, width: int, height: int) -> Photo:
        """Cut a random window, uint8 [height, width, 3], with its boxes, float32 [N, 4]."""
        packed, boxes = self._held[rng.integers(0, len(self._held))]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        rows, columns = image.shape[:2]
        least = max(width / columns, height / rows)
        scale = math.exp(rng.uniform(math.log(least), math.log(max(1.3, least))))
        columns, rows = max(width, round(columns * scale)), max(height, round(rows * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (columns, rows), interpolation=method)
        boxes = boxes * np.float32(scale)
        left, top = rng.integers(0, columns - width + 1), rng.integers(0, rows - height + 1)
        if len(boxes) and rng.random() < 0.8:
            box = boxes[rng.integers(0, len(boxes))]
            left = int(np.clip((box[0] + box[2] - width) / 2 + rng.normal(0, width / 5),
                               0, columns - width))  # fmt: skip
            top = int(np.clip((box[1] + box[3] - height) / 2 + rng.normal(0, height / 5),
                              0, rows - height))  # fmt: skip
        window = np.ascontiguousarray(image[top : top + height, left : left + width])
        return _recolour(window, rng), self._visible(window, boxes, left, top)

    @staticmethod
    def _visible(
        window: NDArray[np.uint8], boxes: NDArray[np.float32], left: int, top: int
    ) -> NDArray[np.float32]:
        """Keep boxes that are mostly inside; what is left of the others is painted over."""
        height, width = window.shape[:2]
        kept = []
        for box in boxes - np.array([left, top, left, top], np.float32):
            most = np.array([width, height, width, height], np.float32)
            inside: NDArray[np.float32] = np.minimum(np.maximum(box, np.float32(0)), most)
            area = (inside[2] - inside[0]) * (inside[3] - inside[1])
            if area <= 0:
                continue
            if area > 0.65 * (box[2] - box[0]) * (box[3] - box[1]):
                kept.append(inside)
            else:
                x0, y0, x1, y1 = (int(v) for v in inside)
                window[y0 : y1 + 1, x0 : x1 + 1] = 100
        return np.array(kept, np.float32).reshape(-1, 4)


def _recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the photo's cast off, or brighten it, at random."""
    out = image.astype(np.float32)
    if rng.random() < 0.6:
        means = out.mean(axis=(0, 1)) + 4
        out *= (means.mean() / means).clip(0.3, 3.5)
    if rng.random() < 0.25:
        out[:] = out @ np.array([0.114, 0.587, 0.299], np.float32)[:, None]
    if rng.random() < 0.5:
        curve = np.float32(rng.uniform(0.4, 1.1))
        out = np.asarray(255 * (np.clip(out, 0, 255) / 255) ** curve, np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
