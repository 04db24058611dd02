"""What a page of a night shows, as plain values: who renders it reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from platemill.report.moments import Times
from platemill.report.tallies import Came, Done, Late

__all__ = [
    "Asked",
    "CheckRow",
    "Failure",
    "ModelFile",
    "ModelFiles",
    "Models",
    "NightFacts",
    "PartRow",
    "Photo",
    "Plate",
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
class PartRow:
    """A part of a backfill: a run of its own, with a page of its own."""

    run_id: str
    first: date
    last: date
    images: int
    state: str
    error: str


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
        parts: of a backfill, the runs that do its work.
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
    parts: tuple[PartRow, ...] = ()
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
