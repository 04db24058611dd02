"""Nights as the flow runs them, with a recogniser in this process that writes a job's journal."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_lake import settings_for
from small_recogniser import recognise_shards

from platemill.costs.spend import Spend
from platemill.features.online import StagedOnline
from platemill.journal import Journal
from platemill.lake import open_lake
from platemill.launch import stages
from platemill.launch.stages import Night
from platemill.recognize.plan import Plan, Shard
from platemill.recognize.results import ImageResult
from platemill.recognize.shards import write_shard
from platemill.settings import Settings

CENT_A_SECOND = {"cpu": 36.0}


def settings_with_prices(home: Path, **given: Any) -> Settings:
    return settings_for(home, node_prices=CENT_A_SECOND, shard_images=4, error_budget=1.0, **given)


class CostedNights:
    """Runs nights over one archive.

    Args:
        patch: no Ray, no Triton, no Feast: their places are taken while it holds.
        settings: with prices.
        archive: the photos.
    """

    def __init__(self, patch: pytest.MonkeyPatch, settings: Settings, archive: Path) -> None:
        self.settings = settings
        self.archive = archive
        self.count = 0
        self.version = "p1"
        self.seconds_a_shard = 0.0
        self.is_over: Callable[[int], bool] = lambda _recorded: False
        self.said: list[str] = []
        patch.setattr(stages, "run_recognition", self._recognise)
        patch.setattr(stages, "pipeline_version", lambda _: self.version)
        patch.setattr(stages, "stage_online", lambda *_, **_given: StagedOnline(0, 0, 0, False))
        patch.setattr(stages, "finish_online", lambda _: False)

    def run(
        self, budget: float | None = None, *, days: frozenset[dt.date] | None = None
    ) -> dict[str, Any]:
        """One night, as the flow does it; returns its summary."""
        self.count += 1
        archives = [str(self.archive)]
        night = Night.new(self.settings, f"r{self.count}", archives, days, budget=budget)
        night.inventory()
        night.plan()
        self.said = night.left()
        if night.has_work():
            with night.holding(self.said.append):
                if night.has_work():
                    night.recognise(lambda _: None)
                    self.said += [line for line in night.left() if line not in self.said]
                    if night.has_work():
                        with night.publishing(self.said.append):
                            for stage in (night.facts, night.tiles, night.checks, night.features):
                                stage()
                            night.publish()
        return night.finish()

    def _recognise(self, settings: Settings, run_id: str, _progress: Any) -> None:
        """What the job does: the newest days first if there is a budget, until it is spent."""
        folder, lake = settings.runs / run_id, open_lake(settings)
        plan, journal, spend = Plan.load(folder), Journal(folder), Spend(folder)
        if spend.has_budget:
            newest = tuple(sorted(plan.shards, key=lambda shard: shard.day, reverse=True))
            plan = Plan(newest, plan.groups, plan.pipeline_version, plan.changes, plan.inventory)
        journal.write("node_up", node="n1", kind="cpu", cpus=4, gpus=0)
        recorded = 0

        def write(shard: Shard, results: Iterator[ImageResult]) -> None:
            nonlocal recorded
            if spend.has_budget and self.is_over(recorded):
                return
            began = dt.datetime.now(dt.UTC)
            record = write_shard(lake, shard.key, results)
            time.sleep(self.seconds_a_shard)
            recorded += 1
            journal.write(
                "shard",
                **{"key": shard.key, "day": shard.day, "node": "n1", "worker": "w1"},
                **{"began": began, "ended": dt.datetime.now(dt.UTC), "images": record.images},
            )

        recognise_shards(lake, plan, run_id, write, now=lambda: dt.datetime.now(dt.UTC))
        journal.write("node_down", node="n1", why="job ended")
