"""Samples for the reader: a rendered plate, seen by a camera, cut out as the detector would.

A part of the samples is not to be read: plates upside down or mirrored, other countries'
plates, lettering and clutter. Their text is empty.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.camera import (
    Pose,
    compress,
    lens,
    light,
    project,
    random_pose,
    rescale,
    surround,
)
from platemill.render.clutter import colour, decoy, draw_clutter, lettering
from platemill.render.foreign import draw_foreign
from platemill.render.kinds import random_design, random_text
from platemill.render.plate import Plate, draw_plate
from platemill.vision.crops import straighten
from platemill.vision.detector import corners_of

TEXTURE_SCALE = 0.6
"""Pixels per millimetre of the flat plates that crops are made from."""

_NEGATIVES = 0.07
_UPRIGHT = 0.3
_UNFOLDED = 0.9

Crop = NDArray[np.uint8]


def random_plate(rng: np.random.Generator) -> Plate:
    """Draw a plate of some kind with a random text at the scale that `crop_of` expects."""
    design = random_design(rng)
    return draw_plate(random_text(rng, design), rng, TEXTURE_SCALE, design)


def random_negative(rng: np.random.Generator) -> Plate:
    """Draw something that must not be read: its text is ""."""
    chance = rng.random()
    if chance < 0.4:
        plate = random_plate(rng)
        turned = np.s_[::-1, ::-1] if chance < 0.2 else np.s_[:, ::-1]
        image, mask = (np.ascontiguousarray(a[turned]) for a in (plate.image, plate.mask))
        return replace(plate, image=image, mask=mask, text="")
    if chance < 0.65:
        plate = draw_foreign(rng, TEXTURE_SCALE)
    elif chance < 0.75:
        plate = decoy(rng)
    elif chance < 0.9:
        drawn = lettering(rng)
        image = np.empty_like(drawn.image)
        image[:] = colour(rng)
        image += drawn.mask[:, :, None] * (drawn.image - image)
        plate = Plate(image, np.ones_like(drawn.mask), "")
    else:
        image = draw_clutter(rng, 312, 68)
        plate = Plate(np.clip(image, 0, 255), np.ones(image.shape[:2], np.float32), "")
    rows, columns = plate.mask.shape
    return replace(plate, text="", two_lines=columns < 2.5 * rows)


def samples(rng: np.random.Generator, count: int) -> list[tuple[Crop, str]]:
    """Photograph one new thing several times.

    Returns:
        `count` crops uint8 [24, 94, 3], BGR, each with the text that is to be read, which is
        "" where nothing is: also for a plate of two lines that was taken for one of one.
    """
    if rng.random() < _NEGATIVES:
        plate = random_negative(rng)
        return [(crop_of(plate, rng, rng.random() < 0.7), "") for _ in range(count)]
    plate = random_plate(rng)
    unfolded = [not plate.two_lines or rng.random() < _UNFOLDED for _ in range(count)]
    return [(crop_of(plate, rng, u), plate.text if u else "") for u in unfolded]


def crop_of(plate: Plate, rng: np.random.Generator, unfold: bool = True) -> Crop:
    """Photograph a plate and cut it out: uint8 [24, 94, 3], BGR.

    The width in the picture, the pose, the light and the camera are drawn. The corners are
    the plate's, moved as a detector errs, or those of its upright hull, as a detector that
    knows only boxes gives them.

    Args:
        plate: at `TEXTURE_SCALE`.
        rng: source of everything that is drawn.
        unfold: whether a plate of two lines is known to be one.
    """
    upright = rng.random() < _UPRIGHT
    pose = random_pose(rng, 0.85 if upright else 1.0)
    photo, corners = photograph(plate, pose, rng)
    seen = hull(corners, rng) if upright else nudge(corners, rng)
    return straighten(photo, seen, plate.two_lines and unfold)


def photograph(
    plate: Plate, pose: Pose, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Take a small picture of a mounted plate.

    What makes plates hard to read is dealt out with measure: the smaller the plate, the
    less is added.

    Returns:
        The picture, uint8 [h, w, 3], and the face's corners in it, float32 [4, 2].
    """
    rows, columns = plate.mask.shape
    mx, my = columns // 8, rows // 2
    paint = rng.uniform(10, 230) * np.clip(rng.normal(1, 0.25, 3), 0.2, 1.6)
    flat = surround(plate.image, plate.mask, paint.astype(np.float32), rng, (mx, my))
    if rng.random() < 0.12:
        flat = _bend(flat, rng, rows, columns)
    full = columns / rows * 112
    width = math.exp(rng.uniform(math.log(34), math.log(280))) * (full / 520) ** 0.5
    tiny = width < 60
    quad = project(pose, width, rows / columns)
    span = quad.max(axis=0) - quad.min(axis=0)
    size = np.ceil(span * (1.24, 1.3) + 6).astype(int)
    quad += size / 2 - (quad.max(axis=0) + quad.min(axis=0)) / 2
    quad += rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    shrink = columns / width
    if shrink > 1.2:
        flat = cv2.GaussianBlur(flat, (0, 0), 0.42 * shrink)
    source = np.array(
        [[mx, my], [mx + columns, my], [mx + columns, my + rows], [mx, my + rows]], np.float32
    )
    # Corners are pixel edges; OpenCV counts from the middle of the first pixel.
    matrix = cv2.getPerspectiveTransform(source - 0.5, (quad - 0.5).astype(np.float32))
    seen = np.asarray(
        cv2.warpPerspective(
            flat, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )  # fmt: skip
    light(seen, rng, rng.uniform(0.3, 0.7) if tiny else rng.uniform(0.4, 1.2))
    photo = lens(seen, rng, width * rows / columns * (0.5 if tiny else 1.0))
    if rng.random() < (0.5 if tiny else 0.25):
        low = 1.0 if tiny else min(1.0, max(48 / width, 0.4))
        before = photo.shape
        photo = rescale(photo, rng, rng.uniform(low, 2.5 if tiny else 1.6))
        quad = quad * np.array(photo.shape[1::-1]) / np.array(before[1::-1])
        if rng.random() < 0.5:
            photo = compress(photo, rng)
    return photo, quad.astype(np.float32)


def _bend(
    flat: NDArray[np.float32], rng: np.random.Generator, rows: int, columns: int
) -> NDArray[np.float32]:
    """Curve a plate a little; its corners stay where they are."""
    y, x = np.indices(flat.shape[:2], dtype=np.float32)
    across = (x - flat.shape[1] / 2) * np.float32(2 / columns)
    y += np.float32(rng.uniform(-0.09, 0.09) * rows) * (1 - across * across)
    return np.asarray(
        cv2.remap(flat, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def nudge(corners: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move a face's corners [4, 2] as a detector that predicts corners errs.

    Its errors are not only noise: a steep plate is taken for a less steep one, its short sides
    for upright ones, and a box that misses a side misses both of its corners.
    """
    if rng.random() < 0.2:
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        corners = corners + np.float32(rng.uniform(0, 0.7)) * (corners_of(box[None])[0] - corners)
    along = corners[1] - corners[0] + corners[2] - corners[3]
    down = corners[3] - corners[0] + corners[2] - corners[1]
    chance = rng.random()
    spread = 0.5 if chance < 0.5 else 1.0 if chance < 0.85 else 2.0
    whole = np.clip(rng.normal(0, spread, (1, 2)), -2.2, 2.2) * (0.012, 0.04)
    each = np.clip(rng.normal(0, spread, (4, 2)), -2.2, 2.2) * (0.012, 0.04)
    left, right = np.clip(rng.normal(0.2, 0.9 * spread, 2), -2, 3) * 0.014
    top, bottom = np.clip(rng.normal(0.2, 0.9 * spread, 2), -2, 3) * 0.03
    each += [[-left, -top], [right, -top], [right, bottom], [-left, bottom]]
    if rng.random() < 0.5:
        each[:, 0] += np.array([1, 1, -1, -1]) * np.clip(rng.normal(0, 0.028), -0.06, 0.06)
    if rng.random() < 0.4:
        each[:, 1] += np.array([-1, 1, 1, -1]) * np.clip(rng.normal(0, 0.06), -0.2, 0.2)
    moved = (whole + each) @ np.stack([along, down]) / 2
    return np.asarray(corners + moved, dtype=np.float32)


def hull(corners: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The corners [4, 2] of the upright box around a face, with a detector's error.

    The box errs mostly outwards: its overlap with the true one goes down to about 0.6.
    """
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    width, height = box[2] - box[0], box[3] - box[1]
    chance = rng.random()
    spread = 0.012 if chance < 0.6 else 0.025 if chance < 0.9 else 0.05
    noise = np.clip(rng.normal(0, spread, 4), -0.05, 0.1)
    noise += np.array([-1, -1, 1, 1]) * rng.normal(0.005, 0.4 * spread)
    noise *= np.array([width, 2.2 * height, width, 2.2 * height])
    moved = np.asarray(box + noise, dtype=np.float32)
    return np.asarray(corners_of(moved[None])[0])
