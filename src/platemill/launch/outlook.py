"""What a night is about to do and what that is expected to take, before anything starts."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from platemill.archive.inventory import Found, take_inventory
from platemill.costs.choice import Choice, choose_days, require_prices
from platemill.costs.estimate import DayWork, Estimate, Rates, estimate, rates_of
from platemill.costs.history import last_rows
from platemill.costs.prices import Prices
from platemill.documents import write_json
from platemill.lake import Lake, open_lake
from platemill.lake.inventory import newest_inventory, preview_inventory
from platemill.recognize.night_plan import plan_night
from platemill.recognize.plan import Plan, bytes_by_day
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = ["DryRun", "LeftDays", "Outlook", "dry_run", "is_private"]

_LEFT: Final = "left.json"


class Outlook:
    """Says what a plan is expected to take.

    Args:
        settings: the deployment's settings.
        lake: what is recorded, and what runs took.
        pipeline_version: what will be recognised with.
    """

    def __init__(self, settings: Settings, lake: Lake, pipeline_version: str) -> None:
        self._settings = settings
        self._lake = lake
        self._pipeline_version = pipeline_version

    def work(self, plan: Plan, sizes: Mapping[dt.date, int] | None = None) -> list[DayWork]:
        """What a plan has to do, day by day.

        Args:
            plan: the plan.
            sizes: bytes of the images by day, if somebody asked.
        """
        records = self._lake.shards(shard.key for shard in plan.shards)
        images: Counter[dt.date] = Counter()
        shards: Counter[dt.date] = Counter()
        recorded: Counter[dt.date] = Counter()
        for shard in plan.shards:
            images[shard.day] += shard.images
            shards[shard.day] += 1
            if records[shard.key] is not None:
                recorded[shard.day] += shard.images
        return [
            DayWork(day, images[day], shards[day], recorded[day], (sizes or {}).get(day))
            for day in sorted(images)
        ]

    def expect(self, work: Sequence[DayWork], measured: Mapping[str, float]) -> Estimate:
        """What that is expected to take; ``measured``: seconds of stages that are done."""
        return estimate(work, self._rates, Prices.of(self._settings), measured)

    @cached_property
    def _rates(self) -> Rates | None:
        return rates_of(last_rows(self._settings, self._lake), self._pipeline_version)


@dataclass(frozen=True)
class LeftDays:
    """Days that a night's budget left for another one, whole.

    Attributes:
        images: how many images of each wait.
        why: ``estimate``, before anything started, or ``spent``; None: it is not decided yet.
    """

    images: Mapping[dt.date, int] = field(default_factory=dict)
    why: str | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What ``save`` wrote into a run's folder."""
        try:
            said = json.loads((folder / _LEFT).read_text())
        except FileNotFoundError:
            return cls()
        images = {dt.date.fromisoformat(day): count for day, count in said["images"].items()}
        return cls(images, said["why"])

    def save(self, folder: Path) -> None:
        """Write it into a run's folder."""
        images = {str(day): count for day, count in sorted(self.images.items())}
        write_json(folder / _LEFT, {"why": self.why, "images": images})

    @staticmethod
    def forget(folder: Path) -> None:
        """Let it be decided anew, of another plan."""
        (folder / _LEFT).unlink(missing_ok=True)

    def summary(self) -> dict[str, int]:
        """``days_left, images_left`` for a night's summary; nothing if nothing is left."""
        if not self.images:
            return {}
        return {"days_left": len(self.images), "images_left": sum(self.images.values())}

    def told(self, budget: float | None, currency: str) -> list[str]:
        """The same for people: a line, or none."""
        if not self.images:
            return []
        days = sorted(self.images)
        named = ", ".join(map(str, days[-3:])) + (f" and {len(days) - 3} more" if days[3:] else "")
        whole = f"{sum(self.images.values()):,} images of {len(days)} days ({named})"
        paid = f"the budget of {budget:g} {currency}"
        if self.why == "spent":
            return [
                f"{paid} is spent: {whole} are left for another night. What was recognised of "
                "them is kept and not paid for again"
            ]
        return [f"{paid} does not pay for {whole}: they are left, whole, for another night"]


@dataclass(frozen=True)
class DryRun:
    """What a night would do.

    Attributes:
        seen: images in the archives.
        deleted: images that would be marked as deleted.
        emptied: archives that show no image at all although some are known there.
        pipeline_version: what it would recognise with.
        days: its work, day by day.
        choice: what it is expected to take, of the days that the budget pays for.
    """

    seen: int
    deleted: int
    emptied: tuple[str, ...]
    pipeline_version: str
    days: tuple[DayWork, ...]
    choice: Choice

    def to_json(self) -> dict[str, Any]:
        """As a JSON document tells it."""
        expected = self.choice.estimate
        left = {work.day for work in self.choice.left}
        return {
            "images_seen": self.seen,
            "images_new": sum(work.images for work in self.days),
            "images_recorded": sum(work.recorded for work in self.days),
            "images_deleted": self.deleted,
            "bytes": sum(work.bytes or 0 for work in self.days),
            "shards": sum(work.shards for work in self.days),
            "pipeline_version": self.pipeline_version,
            "days": [
                {
                    "day": work.day,
                    "images": work.images,
                    "recorded": work.recorded,
                    "bytes": work.bytes,
                    "shards": work.shards,
                    "left": work.day in left,
                }
                for work in self.days
            ],
            "seconds": expected.seconds,
            "node_hours": expected.node_hours,
            "price": expected.price,
            "currency": expected.prices.currency if expected.price is not None else None,
            "stages": [
                {
                    "stage": stage.stage,
                    "node_kind": stage.node_kind,
                    "seconds": round(stage.seconds, 3),
                    "node_hours": stage.node_seconds / 3600,
                    "price": stage.price,
                }
                for stage in expected.stages or ()
            ],
            "rates": None if expected.rates is None else expected.rates.to_json(),
        }


def dry_run(
    settings: Settings,
    archives: Sequence[str],
    days: frozenset[dt.date] | None,
    budget: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> DryRun:
    """Take inventory and plan as a night does, and save nothing: the home is as it was.

    (What is read of a bucket is kept in the cache, as by every reader.)

    Args:
        settings: the deployment's settings.
        archives: folders, ``.tar`` or ``.zip`` files.
        days: only images of these UTC days; None for all.
        budget: what the night may cost.
        progress: called now and then with the number of files.

    Raises:
        ConfigurationError: an archive or a setting is wrong, or the budget pays for no day.
    """
    require_prices(settings, budget)
    lake = open_lake(settings)
    measured: dict[str, float] = {}
    start = time.monotonic()
    base = newest_inventory(lake.storage)
    taken = take_inventory(
        archives,
        settings.layout,
        base.known(),
        days=days,
        max_image_bytes=settings.max_image_bytes,
        rehash=settings.rehash,
        mark_emptied=settings.mark_emptied_archives,
        progress=progress,
    )
    found: Found = taken.found
    measured["inventory"] = time.monotonic() - start
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="platemill-plan-") as name:
        folder = Path(name)
        version = pipeline_version(repository_of(_elsewhere(settings, folder)))
        plan = plan_night(
            folder,
            lake,
            preview_inventory(base, taken.delta, taken.moved),
            version,
            settings.shard_images,
            scope=found.scope,
            unseen=taken.unseen,
            days=days,
        )
        measured["plan"] = time.monotonic() - start
        outlook = Outlook(settings, lake, version)
        work = outlook.work(plan, bytes_by_day(folder))
    choice = choose_days(work, budget, lambda some: outlook.expect(some, measured))
    deleted = plan.changes.deleted
    return DryRun(found.seen, deleted, found.emptied, version, tuple(work), choice)


def is_private(settings: Settings) -> bool:
    """Whether runs recognise on their own machine, which is paid from their begin to their end."""
    return settings.ray_address is None and settings.kuberay_template is None


def _elsewhere(settings: Settings, folder: Path) -> Settings:
    """The same settings, but what is assembled of a profile or an overlay goes to a folder."""
    return settings.model_copy(update={"home": folder, "triton_overlay": settings.overlay})
