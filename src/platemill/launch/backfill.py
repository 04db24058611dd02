"""A backfill: the days that it is over, the parts that it does them in, the pipeline that it wants.

A backfill looks into the archives once and divides the days that have work into parts of days that
follow each other. A part is a run like every other, a night over its days: it has a folder, leases,
checks and a publication of its own, so that one that fails or is killed costs nothing but itself.
What belongs to the whole is a run's folder, too: who leads it, its inventory and ``backfill.json``.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from platemill.documents import write_json
from platemill.errors import ConfigurationError
from platemill.launch.records import SUMMARY, read_progress
from platemill.launch.run_state import standing
from platemill.launch.stages import Night
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = [
    "Backfill",
    "Part",
    "backfill_of",
    "days_between",
    "divide",
    "newest_backfill",
    "prepare",
    "require_version",
]

_RECORD: Final = "backfill.json"
_MOST_IMAGES: Final = 20_000


@dataclass(frozen=True)
class Part:
    """Days that one run of a backfill does.

    Attributes:
        run_id: its run.
        days: UTC days with work, ascending.
        images: how many wait.
    """

    run_id: str
    days: tuple[dt.date, ...]
    images: int

    def row(self, runs: Path) -> dict[str, Any]:
        """How it stands.

        Args:
            runs: the folder of all runs.

        Returns:
            ``run_id, first_day, last_day, days, images, done, state, error``; the state is
            ``waiting`` before its turn, then as ``platemill status`` has it.
        """
        folder = runs / self.run_id
        row: dict[str, Any] = {
            "run_id": self.run_id,
            "first_day": self.days[0],
            "last_day": self.days[-1],
            "days": len(self.days),
            "images": self.images,
            "done": 0,
            "state": "waiting",
            "error": None,
        }
        if folder.exists():
            now = standing(folder)
            progress = read_progress(folder)
            # What another run has done meanwhile is done as well.
            over = now["state"] in ("published", "nothing new")
            done = 0 if progress is None else progress.images_done
            # Until its process is up its folder says no more than that it will be.
            state = "waiting" if now["state"] == "unfinished" else now["state"]
            row |= {"state": state, "error": now["error"]}
            row["done"] = self.images if over else min(done, self.images)
        return row


@dataclass(frozen=True)
class Backfill:
    """What a backfill does, in its folder.

    Attributes:
        run_id: its own run, which leads the others.
        start: the first UTC day that was asked for.
        end: the last one.
        parallel: parts that are worked on at once.
        parts: in the order in which they begin; none if there is nothing to do.
    """

    run_id: str
    start: dt.date
    end: dt.date
    parallel: int
    parts: tuple[Part, ...]

    def save(self, runs: Path) -> None:
        """Write it into its run's folder."""
        document = {
            "start": str(self.start),
            "end": str(self.end),
            "parallel": self.parallel,
            "parts": [
                {"run_id": part.run_id, "days": [*map(str, part.days)], "images": part.images}
                for part in self.parts
            ],
        }
        write_json(runs / self.run_id / _RECORD, document)

    @classmethod
    def load(cls, runs: Path, run_id: str) -> Self:
        """Read it back."""
        said = json.loads((runs / run_id / _RECORD).read_text())
        parts = tuple(
            Part(one["run_id"], tuple(map(dt.date.fromisoformat, one["days"])), one["images"])
            for one in said["parts"]
        )
        start, end = dt.date.fromisoformat(said["start"]), dt.date.fromisoformat(said["end"])
        return cls(run_id, start, end, said["parallel"], parts)

    def rows(self, runs: Path) -> list[dict[str, Any]]:
        """How its parts stand, a row a part; see `Part.row`."""
        return [part.row(runs) for part in self.parts]

    def finish(self, runs: Path, generation: int | None, seconds: float) -> dict[str, Any]:
        """Sum the parts up, in the backfill's folder and as a value.

        Args:
            runs: the folder of all runs.
            generation: the newest one.
            seconds: since it began.

        Returns:
            ``run_id, generation, images_new, recognised, no_plate, quarantined, plates, parts`` (as
            ``rows``) and ``seconds``.
        """
        summed = dict.fromkeys(("recognised", "no_plate", "quarantined", "plates"), 0)
        for part in self.parts:
            told = standing(runs / part.run_id)
            for name in summed:
                summed[name] += told.get(name, 0)
        summary = {
            "run_id": self.run_id,
            "generation": generation,
            "images_new": sum(part.images for part in self.parts),
            **summed,
            "parts": len(self.parts),
            "seconds": {"total": round(seconds, 3)},
        }
        write_json(runs / self.run_id / SUMMARY, summary)
        return self.summary(runs)

    def summary(self, runs: Path) -> dict[str, Any]:
        """What ``finish`` wrote, with how the parts stand."""
        kept = json.loads((runs / self.run_id / SUMMARY).read_text())
        return {**kept, "parts": self.rows(runs)}


def prepare(lead: Night, start: dt.date, end: dt.date, parallel: int) -> Backfill:
    """Divide what a run's plan found into parts, and keep that in its folder.

    Args:
        lead: it has its inventory and its plan.
        start: the first day that was asked for.
        end: the last one.
        parallel: parts that are worked on at once.
    """
    waiting = lead.waiting() if lead.has_work() else {}
    if lead.has_work() and not waiting:
        # Another version is to be published, of which nothing is left to recognise.
        waiting = {end: 0}
    parts = tuple(
        Part(f"{lead.run_id}-{number}", days, sum(waiting[day] for day in days))
        for number, days in enumerate(divide(waiting, parallel), 1)
    )
    backfill = Backfill(lead.run_id, start, end, parallel, parts)
    backfill.save(lead.folder.parent)
    return backfill


def divide(
    images: Mapping[dt.date, int], parallel: int, most: int = _MOST_IMAGES
) -> list[tuple[dt.date, ...]]:
    """Divide days into parts of days that follow each other.

    There are at least as many as can be worked on at once, and so many that what is published, or
    lost with a part, is no more than some images or one day.

    Args:
        images: that wait, by day.
        parallel: parts that are worked on at once.
        most: images in a part of more than one day.
    """
    goal = min(most, math.ceil(sum(images.values()) / parallel))
    parts: list[tuple[dt.date, ...]] = []
    size = 0
    for day in sorted(images):
        if parts and size + images[day] <= goal:
            parts[-1] += (day,)
            size += images[day]
        else:
            parts.append((day,))
            size = images[day]
    return parts


def backfill_of(runs: Path, run_id: str) -> Backfill | None:
    """The backfill that a run leads; None if it is a night, or a part.

    Args:
        runs: the folder of all runs.
        run_id: the run.
    """
    return Backfill.load(runs, run_id) if (runs / run_id / _RECORD).exists() else None


def newest_backfill(runs: Path) -> Backfill | None:
    """The one that was begun last; None if there was none."""
    found = sorted(runs.glob(f"*/{_RECORD}"))
    return Backfill.load(runs, found[-1].parent.name) if found else None


def days_between(
    start: str | None, end: str | None, today: dt.date | None = None
) -> tuple[dt.date, ...]:
    """Every UTC day from one to another, both included.

    Args:
        start: the first day, ``2026-05-01`` say.
        end: the last one.
        today: the current day; default: the clock's, in UTC.

    Raises:
        ConfigurationError: a day is missing, is no date or has not come yet, or the last one comes
            before the first.
    """
    first, last = _date("--from", start), _date("--to", end)
    now = today or dt.datetime.now(dt.UTC).date()
    if last < first:
        raise ConfigurationError(
            f"--from {first} comes after --to {last}: there is no day between them. Swap them"
        )
    if last > now:
        raise ConfigurationError(
            f"--to {last} has not come yet: it is {now} in UTC. The last day may be today"
        )
    return tuple(first + dt.timedelta(days=number) for number in range((last - first).days + 1))


def _date(option: str, given: str | None) -> dt.date:
    if not given:
        raise ConfigurationError(f"{option} is missing: a UTC day like 2026-05-04")
    try:
        return dt.date.fromisoformat(given)
    except ValueError:
        raise ConfigurationError(
            f"{option} takes a UTC day like 2026-05-04, not {given!r}"
        ) from None


def require_version(settings: Settings, wanted: str | None) -> str:
    """Refuse to go on with another pipeline than the one that was asked for.

    Args:
        settings: the deployment's settings, which say what is served.
        wanted: the version; None: whatever it is.

    Returns:
        The version of the pipeline that these settings give.

    Raises:
        ConfigurationError: it is another one.
    """
    models = repository_of(settings)
    version = pipeline_version(models)
    if wanted is not None and wanted != version:
        raise ConfigurationError(
            f"--pipeline-version {wanted} was asked for, but the models in {models} are version "
            f"{version}. A version is a hash of weights, configs and code: check out the commit "
            "that had it, or give the profile (--profile) or the model repository "
            "(PLATEMILL_TRITON_MODELS) that makes it; `platemill generations` shows which version "
            "each generation has. Or leave the option out to recognise with this one"
        )
    return version
