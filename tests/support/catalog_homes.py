"""Homes for tests of the catalogue: several days, awkward names, and an online store."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from small_lake import Photo, draft_night, inventory_of, night, settings_for

from platemill.features.online import finish_online, stage_online
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.publish import publish

__all__ = [
    "EVIL",
    "LAST_DAY",
    "NEXT_NIGHT",
    "PLATES",
    "catalog_photos",
    "published_home",
    "sql_home",
]

EVIL = "<script>alert('x')</script>\"`$(id)"
"""The name of a camera that must stay a text: in HTML, in SQL, in Python and in a shell."""

PLATES = ("A001AA77", "B002BB77", "C003CC199")


# Not long ago whenever the tests run: no value has outlived its time to live.
LAST_DAY = datetime.now(UTC).date() - timedelta(days=20)
"""The newest day of the photos."""

_NIGHT = datetime.combine(LAST_DAY + timedelta(days=2), time(3), UTC)

NEXT_NIGHT = _NIGHT + timedelta(days=1)
"""When a home that was published here may be published once more."""


def catalog_photos() -> list[Photo]:
    """Twelve days of three cameras, the last two days apart from the others."""
    photos = []
    for day in (*range(10), 13, 14):
        for place, camera in enumerate(("north gate", 'south\'s "gate"', EVIL)):
            taken = datetime.combine(LAST_DAY, time(6), UTC) + timedelta(
                days=day - 14, hours=place * 3 + day % 5
            )
            plates = [(PLATES[(day + place + k) % 3], 0.99 - 0.07 * k) for k in range(day % 3)]
            if place == 1 and day % 4 == 0:
                plates.append(("", 0.31))
            broken = place == 2 and day == 4
            photos.append(
                Photo(
                    f"file:///photos/{PLATES[0]}/{place}/{day}.jpg",
                    camera,
                    taken,
                    () if broken else tuple(plates),
                    reason="truncated" if broken else None,
                )
            )
    return photos


def sql_home(home: Path) -> Settings:
    """A published home without an online store: quick to make."""
    settings = settings_for(home)
    night(settings, catalog_photos(), now=_NIGHT)
    return settings


def published_home(home: Path) -> Settings:
    """A home as a whole night leaves it."""
    settings = settings_for(home)
    photos = catalog_photos()
    draft = draft_night(settings, photos, "r1", "p1", _NIGHT)
    run_checks(settings, draft, inventory_of(photos))
    stage_online(settings, draft)
    publish(settings, draft)
    assert finish_online(settings)
    return settings
