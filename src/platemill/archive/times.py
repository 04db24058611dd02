"""Times as the archive knows them: whole microseconds since 1970 in UTC.

A photo's day is the UTC day of its ``captured_at``, for every camera and wherever it stands. One
rule for all keeps a day's partition, its tiles and its checks about the same photos; a local day
would need a time zone a camera and would be 23 or 25 hours long twice a year.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

__all__ = [
    "EPOCH",
    "FILE_EARLIEST",
    "FILE_LATEST",
    "capture_time",
    "file_time",
    "from_datetime",
    "parse_iso",
    "plausible",
    "to_datetime",
    "utc_day",
]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000
# A capture time outside these was not written by a camera that took the photo at that time.
_EARLIEST: Final = 0
_LATEST: Final = (datetime(2100, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND - 1
# Modification times are kept as they are within years that every reader of the lake can hold.
FILE_EARLIEST: Final = (datetime(1900, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
FILE_LATEST: Final = (datetime(2200, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND - 1


def from_datetime(moment: datetime) -> int | None:
    """Microseconds of a moment (without a zone it is UTC); None outside 1970 to 2099."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return plausible((moment - EPOCH) // _MICROSECOND)


def plausible(value: int) -> int | None:
    """A capture time as it is, or None outside 1970 to 2099."""
    return value if _EARLIEST <= value <= _LATEST else None


def to_datetime(microseconds: int) -> datetime:
    """The moment of a count of microseconds, with UTC as its zone."""
    return EPOCH + timedelta(microseconds=microseconds)


def file_time(nanoseconds: int) -> int:
    """A file's modification time in microseconds, held within the years 1900 to 2199."""
    return min(max(nanoseconds // 1000, FILE_EARLIEST), FILE_LATEST)


def capture_time(microseconds: int) -> int:
    """A file's modification time where it has to stand for the photo's: held in 1970 to 2099."""
    return min(max(microseconds, _EARLIEST), _LATEST)


def utc_day(microseconds: int) -> date:
    """The UTC day that a count of microseconds falls in."""
    return date.fromordinal(EPOCH.toordinal() + microseconds // _DAY)


def parse_iso(text: str) -> int | None:
    """Microseconds of an ISO 8601 time such as ``2025-03-01T07:05:00+03:00``.

    Without an offset it is UTC. None if it is no such time or lies outside 1970 to 2099.
    """
    try:
        return from_datetime(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return None
