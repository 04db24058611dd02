"""The fake world of a seed: an archive on its first and on its second night, the same every time.

Between the nights images come for new days and, late, for old ones; one changes under its name,
one is deleted, one that was broken is mended. What is in an image is known beforehand.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from fake_models import PLATES, first_pixel, plates_in

__all__ = ["Fact", "World"]

# A Friday: the days behind it lie in another week, and in another month.
_FIRST_DAY = date(2026, 5, 29)
_STAMP = int(datetime(2026, 6, 5, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Fact:
    """What the tables must say of a file: its day, its status, its plates, whether it is gone."""

    day: date
    status: str
    plates: tuple[str, ...]
    deleted: bool = False


class World:
    """An archive that is written as a seed says.

    Args:
        archive: the folder; it must not exist.
        seed: decides the number of images, what is in them and what comes late.
        images: photos of the first night; default: some 20 to 40.
    """

    def __init__(self, archive: Path, seed: int, images: int | None = None) -> None:
        self.archive = archive
        self.facts: dict[str, Fact] = {}
        self._random = random.Random(seed)
        self._images = images or self._random.randint(20, 40)
        self._number = 0
        self._stamp = _STAMP

    def first_night(self) -> None:
        """Photos of three days and a broken file a day."""
        for _ in range(self._images):
            self._photo(self._random.randrange(3))
        for day in range(3):
            self._broken(day)

    def second_night(self, photographed: bool = True) -> None:
        """New days, late photos, a changed, a deleted and a mended file.

        Args:
            photographed: a night has seen the first photos; what it never saw cannot be missed.
        """
        whole = sorted(uri for uri, fact in self.facts.items() if fact.status != "quarantined")
        broken = sorted(uri for uri, fact in self.facts.items() if fact.status == "quarantined")
        changed, deleted = self._random.sample(whole, 2)
        self._write(changed, self.facts[changed].day)
        Path(deleted.removeprefix("file://")).unlink()
        gone = self.facts.pop(deleted)
        if photographed:
            self.facts[deleted] = replace(gone, deleted=True)
        mended = self._random.choice(broken)
        self._write(mended, self.facts[mended].day)
        for _ in range(self._random.randint(8, 14)):
            self._photo(self._random.choice((3, 4)))
        for _ in range(self._random.randint(2, 5)):
            self._photo(self._random.randrange(3))
        self._broken(4)

    def _photo(self, day: int) -> None:
        uri, when = self._name(day, "png")
        self._write(uri, when)

    def _broken(self, day: int) -> None:
        uri, when = self._name(day, "jpg")
        path = Path(uri.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"this is no image %d" % self._number)
        self._touch(path)
        self.facts[uri] = Fact(when, "quarantined", ())

    def _name(self, day: int, ending: str) -> tuple[str, date]:
        self._number += 1
        when = _FIRST_DAY + timedelta(days=day)
        camera = f"camera-{self._random.randrange(2)}"
        name = f"{self._number % 24:02d}{self._number // 24:02d}00.{ending}"
        return f"file://{self.archive}/{camera}/{when:%Y/%m/%d}/{name}", when

    def _write(self, uri: str, when: date) -> None:
        blue, green = first_pixel(self._random.randrange(3), self._random.randrange(PLATES))
        rng = np.random.default_rng(self._random.randrange(1 << 32))
        image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image[0, 0, :2] = blue, green
        path = Path(uri.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        # The bytes decide what a file is, not its ending: a mended .jpg may hold a PNG.
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        self._touch(path)
        plates = tuple(plates_in(blue, green))
        self.facts[uri] = Fact(when, "recognised" if plates else "no_plate", plates)

    def _touch(self, path: Path) -> None:
        self._stamp += 1
        os.utime(path, (self._stamp, self._stamp))
