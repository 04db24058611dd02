"""Photos with labelled plates, seen anew each time, for the detector's training.

A folder holds photos and a `labels.csv` with the columns `file, xmin, ymin, xmax, ymax` in
pixels of the photo and perhaps `note` (others are not read), one row a plate. A plate whose
note starts with `ignore` is neither learnt nor learnt away; plates that have no row at all
teach the detector to miss them. A row without sides names a photo that shows no plate.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.labels import Labels

Photo = tuple[NDArray[np.uint8], Labels]

HELD_EVERY, HELD_RUN = 10, 12
"""One photo in ten is held out, in runs of twelve: neighbours in a folder look alike."""

_LONG_SIDE = 1280
_LEVELS = 3
_SMALLEST, _LARGEST = 14.0, 330.0
_ENLARGED = 2.4
_ELSEWHERE = 0.22
_USUAL = 0.09


@dataclass(frozen=True)
class View:
    """A part of a photo under a perspective.

    image: uint8 [h, w, 3], BGR. plates: of the photo, in it. roll: degrees it is turned by.
    """

    image: NDArray[np.uint8]
    plates: Labels
    roll: float


def read_photos(folder: Path) -> list[Photo]:
    """Read a folder's photos in the order of their names, shrunk to 1280 pixels.

    Raises:
        FileNotFoundError: the folder has no `labels.csv`, or names a photo that is absent.
    """
    rows: dict[str, list[tuple[list[float], bool]]] = defaultdict(list)
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            plates = rows[row["file"]]
            if row["xmin"]:
                sides = [float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
                plates.append((sides, (row.get("note") or "").startswith("ignore")))
    photos = []
    for name, plates in sorted(rows.items()):
        image = cv2.imread(str(folder / name))
        if image is None:
            raise FileNotFoundError(f"{folder / name} is named in labels.csv: not readable")
        scale = min(1.0, _LONG_SIDE / max(image.shape[:2]))
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes = np.array([sides for sides, _ in plates], np.float32).reshape(-1, 4)
        ignored = np.array([ignore for _, ignore in plates], np.bool_)
        labels = replace(Labels.of_boxes(boxes * np.float32(scale)), ignored=ignored)
        photos.append((np.asarray(image, np.uint8), labels))
    return photos


def split(photos: list[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Divide photos into those to train on and those held out to measure by."""
    held = [index // HELD_RUN % HELD_EVERY == HELD_EVERY // 2 for index in range(len(photos))]
    return (
        [photo for photo, out in zip(photos, held, strict=True) if not out],
        [photo for photo, out in zip(photos, held, strict=True) if out],
    )


class Photos:
    """Labelled photos held in memory, decoded, at three sizes (about 4 MB each)."""

    def __init__(self, photos: list[Photo]) -> None:
        self._held = []
        for image, plates in photos:
            levels = [image]
            for _ in range(_LEVELS - 1):
                levels.append(
                    np.asarray(
                        cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
                        np.uint8,
                    )
                )
            self._held.append((levels, plates))

    def view(
        self, rng: np.random.Generator, width: int, height: int, turned: bool, small: bool = False
    ) -> View:
        """Look at a photo: a window on it, enlarged or shrunk, turned, mirrored, recoloured.

        Args:
            rng: source of what is seen.
            width: of the view in pixels.
            height: of the view in pixels.
            turned: turn it by much, which makes its boxes loose.
            small: show the photo small, as a part of a mosaic is.
        """
        levels, labels = self._held[rng.integers(0, len(self._held))]
        rows, columns = levels[0].shape[:2]
        wanted = labels.boxes[~labels.ignored]
        if len(wanted) and rng.random() >= _ELSEWHERE:
            box = wanted[rng.integers(0, len(wanted))]
            anchor, plate = (box[:2] + box[2:]) / 2, float(box[2] - box[0])
        else:
            anchor = np.array([rng.uniform(0, columns), rng.uniform(0, rows)], np.float32)
            plate = _USUAL * columns
        cover = max(width / columns, height / rows)
        least = cover * (0.55 if small or rng.random() < 0.2 else 0.95)
        largest = _LARGEST * (0.4 if small else 1.0) * width / 512
        seen = math.exp(rng.uniform(math.log(_SMALLEST), math.log(max(largest, 24.0))))
        scale = float(np.clip(seen / plate, least, max(_ENLARGED, least)))
        target = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height])
        mirrored = rng.random() < 0.4
        if rng.random() < 0.85:
            size = np.array([columns, rows], np.float64)
            near = np.array([size[0] - anchor[0] if mirrored else anchor[0], anchor[1]]) * scale
            target = _kept_covered(target, near, size * scale, np.array([width, height]))
        roll = float(rng.normal(0, 8)) if turned else float(rng.uniform(-1.5, 1.5))
        matrix = _camera(rng, anchor, target, scale, roll, mirrored, (width, height))
        level = int(np.clip(math.floor(-math.log2(scale) + 0.3), 0, _LEVELS - 1))
        enlarge = np.diag([2.0**level, 2.0**level, 1.0])
        edge = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, 114.0)
        image = cv2.warpPerspective(
            levels[level], matrix @ enlarge, (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=[float(v) for v in edge],
        )  # fmt: skip
        plates = labels.mapped(matrix).within(width, height)
        return View(
            _recolour(np.asarray(image, np.uint8), rng), plates, -roll if mirrored else roll
        )


def _kept_covered(
    target: NDArray[np.float64],
    near: NDArray[np.float64],
    photo: NDArray[np.float64],
    view: NDArray[np.int_],
) -> NDArray[np.float64]:
    """Move `target` so that a photo, scaled to `photo` pixels, covers the view if it can.

    `near` is how far the point that comes to lie at the target is from the photo's left and
    upper edge, scaled alike.
    """
    low, high = view - (photo - near), near
    return np.asarray(np.where(low <= high, np.clip(target, low, np.maximum(low, high)), target))


def _camera(
    rng: np.random.Generator,
    anchor: NDArray[np.float32],
    target: NDArray[np.float64],
    scale: float,
    roll: float,
    mirrored: bool,
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """The map from a photo to a view in which `anchor` comes to lie at `target`."""
    angle = math.radians(roll)
    stretch = math.exp(rng.normal(0, 0.06))
    shear = math.tan(math.radians(rng.normal(0, abs(roll) * 0.4)))
    across = scale * stretch * (-1 if mirrored else 1)
    along = scale / stretch
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([across, along])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = target - linear @ anchor
    tilt = np.eye(3)
    tilt[2, :2] = rng.normal(0, 0.01 + 0.004 * abs(roll), 2) / size
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = target, -target
    return np.asarray(there @ tilt @ back @ matrix)


def _recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the photo's cast off, stretch, brighten or darken it, or leave it grey, at random."""
    gains = np.ones(3)
    if rng.random() < 0.8:
        means = image[::4, ::4].mean(axis=(0, 1)) + 4
        share = 1.0 if rng.random() < 0.7 else rng.uniform(0, 1)
        gains = (means.mean() / means).clip(0.3, 3.5) ** share
    if rng.random() < 0.65:
        bright = np.percentile(image[::4, ::4], 97) + 8
        gains = gains * rng.uniform(0.7, 1.1) * 235 / bright
    curve = math.exp(rng.uniform(-0.8, 0.55)) if rng.random() < 0.7 else 1.0
    black = rng.uniform(0, 0.8) * np.percentile(image[::4, ::4], 2) if rng.random() < 0.5 else 0.0
    ramp = (np.arange(256)[:, None] - black) * 255 / (255 - black) * gains[None]
    table = np.clip(255 * (np.clip(ramp, 0, 255) / 255) ** curve, 0, 255).astype(np.uint8)
    out = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    chance = rng.random()
    if chance < 0.15:
        grey = cv2.cvtColor(out, cv2.COLOR_BGR2GRAY)
        out = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    elif chance < 0.35:
        hue = cv2.cvtColor(out, cv2.COLOR_BGR2HSV)
        hue[:, :, 0] = (hue[:, :, 0].astype(np.int16) + int(rng.integers(0, 180))) % 180
        out = np.asarray(cv2.cvtColor(hue, cv2.COLOR_HSV2BGR), np.uint8)
    return out
