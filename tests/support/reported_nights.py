"""Nights that a page is made of: three days of two cameras, then a night with late changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from costed_nights import CostedNights, settings_with_prices
from photo_files import encoded, put

from platemill.launch.heartbeat import Heartbeat
from platemill.launch.stages import Night
from platemill.settings import Settings

__all__ = ["EVIL_CAMERA", "crash", "photo_of", "reported_nights", "two_nights", "unfinished_night"]

EVIL_CAMERA = "<b>gate & 'yard'"
CAMERAS = ("north", EVIL_CAMERA)


def photo_of(archive: Path, camera: str, day: int, number: int) -> Path:
    return archive / camera / f"2026/03/{day:02}/0705{number:02}.jpg"


def a_photo(plates: int, seed: int) -> bytes:
    """A photo on which the small model sees as many plates, at the very corner."""
    for tried in range(200):
        data = encoded(".png", seed=1000 * tried + seed, height=90, width=160)
        if int(np.asarray(_decoded(data))[0, 0, 0]) % 3 == plates:
            return data
    raise AssertionError(plates)


def _decoded(data: bytes) -> np.ndarray:
    from platemill.archive.decode import decode_image

    return decode_image(data, 10**6)


@contextmanager
def reported_nights(home: Path) -> Iterator[CostedNights]:
    """Nights over an archive beside the home; nothing has run yet."""
    archive = home.parent / "photos"
    for day in (1, 2, 3):
        for place, camera in enumerate(CAMERAS):
            for number in range(3):
                seed = 100 * day + 10 * place + number
                put(photo_of(archive, camera, day, number), a_photo(number, seed))
    put(photo_of(archive, "north", 2, 9), b"no photo at all")
    put(photo_of(archive, "north", 3, 9), b"")
    with pytest.MonkeyPatch.context() as patch:
        yield CostedNights(patch, settings_with_prices(home), archive)


def two_nights(nights: CostedNights) -> None:
    """A first night, then one to which photos came late, changed and were deleted."""
    archive = nights.archive
    nights.run()
    put(photo_of(archive, "north", 1, 30), a_photo(2, 7))
    put(photo_of(archive, "north", 2, 1), a_photo(1, 8))
    photo_of(archive, EVIL_CAMERA, 2, 0).unlink()
    put(photo_of(archive, "south", 4, 1), a_photo(1, 9))
    nights.run()


def unfinished_night(nights: CostedNights, run_id: str, error: BaseException | None) -> Night:
    """A night that recognised everything new and then published nothing."""
    night = Night.new(nights.settings, run_id, [str(nights.archive)], None)

    def work() -> None:
        night.inventory()
        night.plan()
        with night.holding(lambda _: None):
            night.recognise(lambda _: None)
            if error is not None:
                raise error

    if error is None:
        work()
        return night
    with pytest.raises(type(error)), night.ending():
        work()
    return night


def crash(settings: Settings, run_id: str) -> None:
    """Let a run look as if its leader had been killed."""
    folder = settings.runs / run_id
    with Heartbeat(folder, 60):
        said: dict[str, Any] = json.loads((folder / "heartbeat.json").read_text())
    # No process has that number, or began with the machine.
    said["process"] |= {"pid": 2**22 - 7, "started": 1}
    (folder / "heartbeat.json").write_text(json.dumps(said))
