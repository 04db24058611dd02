"""A night's stages, each safe to repeat. The flow calls them in order; this is what they do."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from platemill.archive.inventory import Inventory, take_inventory
from platemill.archive.known import of_days
from platemill.documents import write_json
from platemill.errors import ShardsIncomplete
from platemill.features.online import finish_online, stage_online
from platemill.lake import Lake, ShardRecord
from platemill.launch.jobs import run_recognition
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan, make_plan
from platemill.schema import ImageStatus
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.facts import Draft, merge_facts
from platemill.warehouse.publish import finish_publish, publish
from platemill.warehouse.tiles import build_tiles

__all__ = ["Night", "Request"]

_REQUEST = "request.json"
_SUMMARY = "summary.json"
_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Request:
    """What a night was asked to do."""

    run_id: str
    archives: tuple[str, ...]
    days: frozenset[dt.date] | None
    layout: str
    started_at: dt.datetime

    def save(self, folder: Path) -> None:
        """Write it into the run's folder."""
        document = {
            "run_id": self.run_id,
            "archives": list(self.archives),
            "days": sorted(map(str, self.days)) if self.days else None,
            "layout": self.layout,
            "started_at": self.started_at.isoformat(),
        }
        write_json(folder / _REQUEST, document)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it back."""
        said = json.loads((folder / _REQUEST).read_text())
        return cls(
            run_id=said["run_id"],
            archives=tuple(said["archives"]),
            days=frozenset(map(dt.date.fromisoformat, said["days"])) if said["days"] else None,
            layout=said["layout"],
            started_at=dt.datetime.fromisoformat(said["started_at"]),
        )


class Night:
    """One night over some archives. Every stage may be called again after a failure.

    Args:
        settings: the deployment's settings.
        request: what is asked for; its run folder exists.
    """

    def __init__(self, settings: Settings, request: Request) -> None:
        self._settings = settings
        self._request = request
        self._lake = Lake(settings.lake)
        self._inventory: Inventory | None = None
        self._draft: Draft | None = None
        self.run_id = request.run_id
        self.folder = settings.runs / request.run_id

    @classmethod
    def new(
        cls,
        settings: Settings,
        run_id: str,
        archives: Sequence[str],
        days: frozenset[dt.date] | None,
    ) -> Self:
        """Prepare a new run and its folder."""
        request = Request(run_id, tuple(archives), days, settings.layout, dt.datetime.now(dt.UTC))
        night = cls(settings, request)
        night.folder.mkdir(parents=True)
        request.save(night.folder)
        return night

    @classmethod
    def load(cls, settings: Settings, run_id: str) -> Self:
        """Go on with a run that was prepared."""
        return cls(settings, Request.load(settings.runs / run_id))

    def repair(self) -> None:
        """Finish what a run that died after its commit had left to do."""
        finish_publish(self._settings)
        finish_online(self._settings)

    def inventory(self, progress: Callable[[int], None] | None = None) -> Inventory:
        """Find what the archives hold; a run looks once and keeps the answer in its folder."""
        if self._inventory is not None:
            return self._inventory
        if (self.folder / "inventory.json").exists():
            self._inventory = Inventory.load(self.folder)
            return self._inventory
        with self._timed("inventory"):
            found = take_inventory(
                self._request.archives,
                self._request.layout,
                self._lake.known_images(),
                days=self._request.days,
                max_image_bytes=self._settings.max_image_bytes,
                progress=progress,
            )
            self._lake.save_inventory(found.table)
            found.save(self.folder)
        self._inventory = found
        return found

    def plan(self) -> int:
        """Divide what is new into shards of one day; returns the number of new images."""
        if not (self.folder / "plan.json").exists():
            with self._timed("plan"):
                version = pipeline_version(repository_of(self._settings))
                made = make_plan(
                    self.inventory().table,
                    self._lake.done_images(version),
                    version,
                    self._settings.shard_images,
                    days=self._request.days,
                )
                made.save(self.folder)
        return int(self._plan.table.num_rows)

    def has_work(self) -> bool:
        """Whether there is an image to recognise, or another version's rows to publish."""
        plan = self._plan
        current = self._lake.current()
        stale = current is not None and current.pipeline_version != plan.pipeline_version
        return bool(plan.table.num_rows) or stale

    def warnings(self) -> list[str]:
        """What a person should know although it is no error."""
        seen = self.inventory().seen
        archives = ", ".join(self._request.archives)
        return [] if seen else [f"there is no image in {archives}"]

    def recognise(self, progress: Callable[[JobProgress], None]) -> dict[str, int]:
        """Recognise every shard without a record in a Ray job; returns images by status.

        Raises:
            ServerUnavailable: Ray or Triton does not answer.
            ShardsIncomplete: the job ended before every shard was recorded.
        """
        plan = self._plan
        with self._timed("recognise"):
            if any(self._lake.shard(shard.key) is None for shard in plan.shards):
                run_recognition(self._settings, self.run_id, progress)
        return _by_status(self._records())

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the right to publish: from the facts to the pointers, one run at a time."""
        with self._lake.publish_lock():
            yield

    def facts(self) -> list[dt.date]:
        """Merge the shards into the day files; returns the days that changed."""
        with self._timed("facts"):
            self._draft = merge_facts(
                self._settings,
                self._records(),
                run_id=self.run_id,
                pipeline_version=self._plan.pipeline_version,
            )
        return sorted(self._draft.days)

    def tiles(self) -> int:
        """Rebuild the dirty tiles; returns the number of changed days."""
        with self._timed("tiles"):
            self._draft = build_tiles(self._settings, self._drafted())
        return len(self._draft.days)

    def checks(self) -> list[dict[str, Any]]:
        """Check the draft; returns a row a check.

        Raises:
            CheckFailed: a blocking check failed; nothing is published.
        """
        with self._timed("checks"):
            inventory = of_days(self.inventory().table, self._request.days)
            results = run_checks(self._settings, self._drafted(), inventory=inventory)
        rows: list[dict[str, Any]] = results.to_pylist()
        return rows

    def features(self) -> dict[str, int]:
        """Stage the online store; returns rows written and compared."""
        with self._timed("features"):
            staged = stage_online(self._settings, self._drafted())
        return {"written": staged.written, "compared": staged.compared}

    def publish(self) -> int:
        """Commit the generation and move the pointers; returns its number."""
        with self._timed("publish"):
            generation = publish(self._settings, self._drafted())
            finish_online(self._settings)
        return generation.number

    def finish(self) -> dict[str, Any]:
        """Sum the night up, in its folder and as a value."""
        inventory = self.inventory()
        plan = self._plan
        records = self._records()
        seconds = self._seconds()
        busy = seconds.get("recognise", 0.0)
        current = self._lake.current()
        summary: dict[str, Any] = {
            "run_id": self.run_id,
            "generation": current.number if current else None,
            "images_seen": inventory.seen,
            "images_new": plan.table.num_rows,
            **_by_status(records),
            "plates": sum(record.plates for record in records),
            "images_per_second": round(plan.table.num_rows / busy, 2) if busy else 0.0,
            "seconds": {**seconds, "total": round(self._elapsed(), 3)},
        }
        write_json(self.folder / _SUMMARY, summary)
        if not plan.shards:
            # A night with nothing new leaves its summary alone, however large the archive is.
            for name in ("inventory.parquet", "plan.parquet"):
                (self.folder / name).unlink(missing_ok=True)
        return summary

    def summary(self) -> dict[str, Any]:
        """What ``finish`` wrote."""
        read: dict[str, Any] = json.loads((self.folder / _SUMMARY).read_text())
        return read

    @cached_property
    def _plan(self) -> Plan:
        return Plan.load(self.folder)

    def _records(self) -> list[ShardRecord]:
        records = [(shard.key, self._lake.shard(shard.key)) for shard in self._plan.shards]
        missing = [key for key, record in records if record is None]
        if missing:
            raise ShardsIncomplete(
                f"{len(missing)} of {len(records)} shards of run {self.run_id} have no record, "
                f"{missing[0]} for one; run again, the others are kept"
            )
        return [record for _, record in records if record is not None]

    def _drafted(self) -> Draft:
        if self._draft is None:
            raise RuntimeError("facts() comes before the stages that read its draft")
        return self._draft

    def _elapsed(self) -> float:
        return (dt.datetime.now(dt.UTC) - self._request.started_at).total_seconds()

    def _seconds(self) -> dict[str, float]:
        path = self.folder / _SECONDS
        read: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        return read

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self._seconds()
            spent = seconds.get(stage, 0.0) + time.monotonic() - start
            write_json(self.folder / _SECONDS, {**seconds, stage: round(spent, 3)})


def _by_status(records: Sequence[ShardRecord]) -> dict[str, int]:
    """Images of some shards by their status."""
    return {
        status.value: sum(record.counts.get(status.value, 0) for record in records)
        for status in ImageStatus
    }
