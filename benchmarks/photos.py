"""Folders of photos for the benchmarks: rendered streets, or photos of one's own, repeated.

The files lie as the default layout wants them, ``{camera}/{YYYY}/{mm}/{dd}/{HHMMSS}.jpg``, all of a
few days. Different photos are made once and then repeated under other names; each copy gets a
comment of its own, so that no two files have the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from platemill.render.plate import random_text
from platemill.render.street import draw_street, expose, new_car, place_cars

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
"""The rendered photos' sizes by name."""

_QUALITY = 88
_FIRST = datetime(2026, 5, 4)


def rendered(size: str, count: int) -> list[bytes]:
    """So many different JPEGs of none to three plates, of a size in ``SIZES``."""
    files = []
    for number in range(count):
        rng = np.random.default_rng([11, number])
        canvas = draw_street(rng)
        plates = int(rng.choice([0, 1, 2, 3], p=[0.12, 0.62, 0.2, 0.06]))
        place_cars(canvas, [new_car(random_text(rng), rng) for _ in range(plates)], rng)
        photo = expose(canvas, 13.0, rng)
        if SIZES[size] != (photo.shape[1], photo.shape[0]):
            photo = np.asarray(cv2.resize(photo, SIZES[size], interpolation=cv2.INTER_CUBIC))
        packed = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        files.append(packed.tobytes())
    return files


def own(folder: Path) -> list[bytes]:
    """The JPEGs of a folder of one's own."""
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def lay_out(files: Sequence[bytes], count: int, archive: Path, *, days: int = 2) -> list[Path]:
    """Write so many files of an archive, the given ones in turn; returns their paths in order."""
    shutil.rmtree(archive, ignore_errors=True)
    paths = []
    for number in range(count):
        taken = _FIRST + timedelta(days=number * days // count, seconds=number)
        path = archive / f"camera-1/{taken:%Y/%m/%d/%H%M%S}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_with_comment(files[number % len(files)], number))
        paths.append(path)
    return paths


def _with_comment(jpeg: bytes, number: int) -> bytes:
    """A JPEG with a comment segment right after its start."""
    text = b"%012d" % number
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]
