"""What a page of a night shows, as plain values: who renders it reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from platemill.report.moments import Times

__all__ = [
    "Asked",
    "Came",
    "CameRow",
    "CheckRow",
    "Done",
    "DoneRow",
    "Failure",
    "Late",
    "LateDay",
    "ModelFile",
    "ModelFiles",
    "Models",
    "NightFacts",
    "Photo",
    "Plate",
    "Quarantined",
]


@dataclass(frozen=True)
class Asked:
    """What the run was asked to do.

    Attributes:
        archives: what was named; none for a retry.
        days: the UTC days that it was restricted to; none for all.
        layout: the path template.
        retry: how many quarantined images it was over, if it was a retry.
        budget: what it might cost; None for no limit.
    """

    archives: tuple[str, ...] = ()
    days: tuple[date, ...] = ()
    layout: str = ""
    retry: int = 0
    budget: float | None = None


@dataclass(frozen=True)
class Failure:
    """What the run ended with, unless that was well.

    Attributes:
        kind: the error's class; empty if it left no word.
        text: the error's own words, which name the cure where there is one.
        cure: what to do about errors of that class.
    """

    kind: str
    text: str
    cure: str


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
class CheckRow:
    """What a check found."""

    table: str
    check: str
    severity: str
    failed: int
    value: float | None
    detail: str

    @property
    def result(self) -> str:
        """``stopped``, ``warning`` or ``ok``."""
        if not self.failed:
            return "ok"
        return "stopped" if self.severity == "block" else "warning"


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


@dataclass(frozen=True)
class ModelFile:
    """A file that recognitions depend on."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True)
class ModelFiles:
    """A model, its version in the repository, and its files."""

    name: str
    version: str
    backend: str
    digest: str
    files: tuple[ModelFile, ...]


@dataclass(frozen=True)
class Models:
    """What recognised.

    Attributes:
        pipeline_version: the hash of all of it; None: the run had no plan yet.
        before: the pipeline version of the generation before, if there was one.
        models: the models; none: they are not those of the night any more.
        prepost_version: of pre- and post-processing.
        platemill_version: the release.
    """

    pipeline_version: str | None = None
    before: str | None = None
    models: tuple[ModelFiles, ...] = ()
    prepost_version: str = ""
    platemill_version: str = ""


@dataclass(frozen=True)
class Plate:
    """A plate on a photo; the box in pixels of the photo as it is shown."""

    text: str
    raw_text: str
    confidence: float
    box: tuple[float, float, float, float]
    picture: str = ""
    """The plate enlarged, an address that a page can hold."""


@dataclass(frozen=True)
class Photo:
    """A photo of the contact sheet, with its plates, the least confident first.

    ``picture`` is an address that a page can hold; without one ``missing`` says why.
    """

    uri: str
    camera: str
    captured_at: datetime
    width: int
    height: int
    plates: tuple[Plate, ...]
    picture: str = ""
    missing: str = ""


@dataclass(frozen=True)
class NightFacts:
    """All that the page shows.

    Attributes:
        run_id: the run.
        home: the deployment's folder.
        made_at: when this was looked up.
        state: as ``launch.run_state.standing`` says it.
        started_at: when the run was asked for.
        seconds: how long it took, or has taken until now.
        failure: what it ended with, unless that was well, or it goes on.
        generation: what it published; None: nothing.
        asked: what it was asked to do.
        came: what the archives had.
        done: what was recognised.
        times: when; None: there is no journal.
        costs: as ``costs.actual.totals`` gives it; None: nothing is known.
        checks: what the checks found, the worst first.
        late: what changed of the past.
        models: what recognised.
        photos: the contact sheet.
        photos_wanted: how many photos were asked for; with none, nothing personal is shown.
        notes: what could not be read, a sentence each.
    """

    run_id: str
    home: str
    made_at: datetime
    state: str
    started_at: datetime
    seconds: float | None = None
    failure: Failure | None = None
    generation: int | None = None
    asked: Asked = field(default_factory=Asked)
    came: Came = field(default_factory=Came)
    done: Done = field(default_factory=Done)
    times: Times | None = None
    costs: Mapping[str, Any] | None = None
    checks: tuple[CheckRow, ...] = ()
    late: Late = field(default_factory=Late)
    models: Models = field(default_factory=Models)
    photos: tuple[Photo, ...] = ()
    photos_wanted: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.state == "running"

    @property
    def shows_personal(self) -> bool:
        """Whether values that may point at a person are shown."""
        return self.photos_wanted > 0
