"""How old a looked-up value is, and whether it still answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

__all__ = ["MISSING", "Freshness", "Status", "freshness_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Status(StrEnum):
    """Whether a view has an answer for a key."""

    CURRENT = "current"
    EXPIRED = "expired"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a view's values of a key are.

    Attributes:
        status: ``current``; ``expired``: its time to live is over, the values are of the past;
            ``missing``: the view has nothing of the key.
        event_timestamp: the end of the values' period (an image: when it was taken); None if
            missing.
        age_seconds: from then until now, in whole seconds; 0 if that is still to come, as of a
            period that has begun; None if missing.
    """

    status: Status
    event_timestamp: datetime | None
    age_seconds: int | None


MISSING = Freshness(Status.MISSING, None, None)
"""The freshness of a view that has nothing of a key."""


def freshness_of(seconds: int, ttl: timedelta, now: float) -> Freshness:
    """The freshness of values whose event was so many seconds after 1970.

    As in Feast's training sets, a value answers up to its time to live and at that instant.
    """
    age = now - seconds
    status = Status.EXPIRED if age > ttl.total_seconds() else Status.CURRENT
    return Freshness(status, _EPOCH + timedelta(seconds=seconds), max(0, int(age)))
