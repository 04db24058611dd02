"""The contact sheet: the night's least confident photos, with their plates enlarged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from platemill.archive.decode import decode_image
from platemill.archive.reader import ArchiveReader
from platemill.errors import ImageRejected, PlatemillError
from platemill.pages.pictures import crop, data_url, jpeg, shrunk
from platemill.report.facts import Photo, Plate
from platemill.report.rows import NightRows
from platemill.settings import Settings

__all__ = ["MOST_PHOTOS", "contact_sheet", "name_of"]

MOST_PHOTOS: Final = 200
"""Photos that a page may hold: it stays within some megabytes."""

_PLATES_SHOWN: Final = 4
_PLATES_KEPT: Final = 40
_CROP_HEIGHT: Final = 88
_CROP_MOST: Final = 300
_QUALITY: Final = 76
# Photos up to a number, and the longer side of each, in pixels.
_SIDES: Final = ((30, 720), (80, 480), (MOST_PHOTOS, 320))


def contact_sheet(settings: Settings, rows: NightRows, photos: int) -> tuple[Photo, ...]:
    """The photos with the least confident plates, the least confident first.

    Args:
        settings: how large a photo may be.
        rows: the night's.
        photos: at most so many; up to ``MOST_PHOTOS``.
    """
    if photos <= 0:
        return ()
    photos = min(photos, MOST_PHOTOS)
    side = next(pixels for most, pixels in _SIDES if photos <= most)
    found = rows.ask("least_confident", photos=photos)
    with ArchiveReader(settings.max_image_bytes) as reader:
        return tuple(_photos(found, reader, settings.max_image_pixels, side))


def name_of(uri: str) -> str:
    """A photo's name for people: the end of its path, or of its member's name."""
    return "/".join(uri.partition("::")[0].rsplit("/", 3)[-3:])


def _photos(
    found: Sequence[Mapping[str, Any]], reader: ArchiveReader, max_pixels: int, side: int
) -> Iterator[Photo]:
    for uri, group in groupby(found, lambda row: row["uri"]):
        plates = list(group)[:_PLATES_KEPT]
        first = plates[0]
        image, missing = _read(reader, first, max_pixels)
        width, height = first["width"] or 0, first["height"] or 0
        picture = ""
        if image is not None:
            height, width = image.shape[:2]
            picture = data_url(jpeg(shrunk(image, side), _QUALITY))
        yield Photo(
            uri=uri,
            camera=first["camera_id"],
            captured_at=first["captured_at"],
            width=width,
            height=height,
            plates=tuple(_plate(row, place, image) for place, row in enumerate(plates)),
            picture=picture,
            missing=missing,
        )


def _read(
    reader: ArchiveReader, row: Mapping[str, Any], max_pixels: int
) -> tuple[NDArray[np.uint8] | None, str]:
    """A photo's pixels, or why there are none."""
    try:
        data = reader.read(row["uri"], row["offset"], row["byte_size"])
        if hashlib.blake2b(data, digest_size=16).hexdigest() != row["image_id"]:
            raise ImageRejected("changed", "its bytes are others now")
        return decode_image(data, max_pixels), ""
    except ImageRejected as error:
        return None, _MISSING.get(error.reason, f"The photo cannot be shown: {error.reason}.")
    except (PlatemillError, OSError, ValueError, MemoryError) as error:
        return None, f"The photo cannot be shown: {type(error).__name__}."


_MISSING: Final = {
    "vanished": "The photo is not in its archive any more.",
    "changed": "The photo in the archive is another one by now.",
    "unreadable": "The photo cannot be read any more.",
}


def _plate(row: Mapping[str, Any], place: int, image: NDArray[np.uint8] | None) -> Plate:
    box = (row["xmin"], row["ymin"], row["xmax"], row["ymax"])
    picture = ""
    if image is not None and place < _PLATES_SHOWN:
        enlarged = crop(image, box, height=_CROP_HEIGHT, most=_CROP_MOST)
        picture = data_url(jpeg(enlarged, _QUALITY))
    return Plate(row["plate"], row["raw_text"], row["confidence"], box, picture)
