"""What a night's page counts, as plain values: what came, what was done, what came late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

__all__ = ["Came", "CameRow", "Done", "DoneRow", "Late", "LateDay", "Quarantined"]


@dataclass(frozen=True)
class CameRow:
    """Images to recognise, of a day or of a camera.

    ``new``, ``changed`` (other bytes, camera or time) and ``again`` (as they were, for another
    pipeline or another try) are None if it cannot be told any more.
    """

    name: str
    images: int
    bytes: int
    new: int | None = None
    changed: int | None = None
    again: int | None = None
    deleted: int = 0
    returned: int = 0


@dataclass(frozen=True)
class Came:
    """What the inventory found, and what of it was planned.

    Attributes:
        seen: images in the archives; None: the inventory was not finished.
        postponed: new ones of days that were not asked for.
        deleted: known images that are gone.
        returned: images that are back.
        emptied: archives that show no image at all although some are known there.
        planned: whether there is a plan.
        days: a row a day, sorted.
        cameras: a row a camera, the most images first.
        cells: (day, camera) → images, of the days and cameras that are shown.
        left: days that the budget left for another night, with their images.
    """

    seen: int | None = None
    postponed: int = 0
    deleted: int = 0
    returned: int = 0
    emptied: tuple[str, ...] = ()
    planned: bool = False
    days: tuple[CameRow, ...] = ()
    cameras: tuple[CameRow, ...] = ()
    cells: Mapping[tuple[str, str], int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images to recognise."""
        return sum(row.images for row in self.days)

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(row.bytes for row in self.days)

    def total(self, kind: str) -> int | None:
        """The sum of ``new``, ``changed`` or ``again``; None if it cannot be told."""
        values = [getattr(row, kind) for row in self.days]
        return None if None in values else sum(values)


@dataclass(frozen=True)
class DoneRow:
    """What became of a day's images."""

    day: date
    recognised: int = 0
    no_plate: int = 0
    quarantined: int = 0
    plates: int = 0

    @property
    def images(self) -> int:
        """Images with a result."""
        return self.recognised + self.no_plate + self.quarantined


@dataclass(frozen=True)
class Quarantined:
    """Images that could not be used, of one reason.

    Attributes:
        reason: the short word.
        stage: where it turned out.
        images: how many.
        examples: ``(uri, detail)`` of a few.
    """

    reason: str
    stage: str
    images: int
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Done:
    """What was recognised.

    Attributes:
        days: a row a day, sorted.
        well_formed: plates with a well-formed text; None if it was not asked.
        confidence: plates by confidence, ``CONFIDENCE_BINS`` counts; empty: not asked.
        quarantined: by reason, the most frequent first.
        looked_at: shards whose rows were read, if they were not all.
    """

    days: tuple[DoneRow, ...] = ()
    well_formed: int | None = None
    confidence: tuple[int, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    looked_at: tuple[int, int] | None = None

    def total(self, what: str) -> int:
        """The sum of a column."""
        return sum(getattr(row, what) for row in self.days)


@dataclass(frozen=True)
class LateDay:
    """A day that readers had been shown before, or that is older than what they had been shown.

    ``before`` and ``after`` are its rows of ``images``; None: none, or not published.
    """

    day: date
    days_late: int
    arrived: int
    deleted: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Late:
    """What the night changed of the past.

    Attributes:
        base: the generation before; None: there was none, or it is gone.
        newest: the newest day that it showed.
        days: late days, the newest first.
        remade: tile table → partitions that were made anew, and how many it has.
        is_first: there was no night before.
    """

    base: int | None = None
    newest: date | None = None
    days: tuple[LateDay, ...] = ()
    remade: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    is_first: bool = False
