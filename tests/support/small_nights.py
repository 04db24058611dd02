"""Nights over a real archive with a small fake model, from the inventory to published facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from photo_files import TAKEN
from small_recogniser import decode, recognise_shards

from platemill.archive.inventory import Inventory, take_inventory
from platemill.lake import open_lake
from platemill.lake.inventory import (
    SavedInventory,
    load_inventory,
    newest_inventory,
    save_inventory,
)
from platemill.recognize.night_plan import plan_night
from platemill.recognize.plan import Plan, Shard
from platemill.recognize.results import ImageResult
from platemill.recognize.shards import write_shard
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.tiles import build_tiles

SEEN = TAKEN + timedelta(days=30)
STAGES = ("inventory", "plan", "recognise", "facts", "tiles")


class Killed(Exception):
    """The night ends here, as if its process had been killed."""


@dataclass
class Nights:
    """Runs night after night over one home, as the flow's stages do."""

    settings: Settings
    archives: Sequence[Path]
    count: int = 0
    shard_images: int = 8
    pipeline: str = "p1"
    decode: Callable[[bytes], np.ndarray] = decode
    facts_only: bool = False

    def run(
        self,
        *,
        archives: Sequence[Path] | None = None,
        days: frozenset[date] | None = None,
        between: Callable[[], Any] | None = None,
        die_after: str | None = None,
        mark_emptied: bool = False,
        rehash: bool = False,
    ) -> tuple[Inventory, Plan]:
        """One night; returns its inventory and its plan.

        Args:
            archives: other than usual.
            days: as ``--day``.
            between: called after the plan, before anything is read.
            die_after: a stage of ``STAGES`` after which the night is killed.
            mark_emptied: as the setting.
            rehash: as the setting.
        """

        def passed(stage: str) -> None:
            if stage == die_after:
                raise Killed(stage)

        self.count += 1
        run_id = f"r{self.count}"
        folder = self.settings.runs / run_id
        folder.mkdir(parents=True)
        lake = open_lake(self.settings)
        base = newest_inventory(lake.storage)
        taken = take_inventory(
            archives or self.archives,
            self.settings.layout,
            base.known(),
            days=days,
            max_image_bytes=1 << 20,
            mark_emptied=mark_emptied,
            rehash=rehash,
            now=SEEN + timedelta(days=self.count),
        )
        saved = save_inventory(lake.storage, base, taken.delta, taken.moved)
        passed("inventory")
        found = taken.save(folder, saved.number)
        inventory = load_inventory(lake.storage, found.saved)
        plan_night(
            folder,
            lake,
            inventory,
            self.pipeline,
            self.shard_images,
            scope=found.scope,
            unseen=taken.unseen,
            days=days,
        )
        plan = Plan.load(folder)
        passed("plan")
        if between is not None:
            between()
        self.recognise(plan, run_id)
        passed("recognise")
        if plan.shards or plan.changes.marks.num_rows:
            records = [lake.shard(shard.key) for shard in plan.shards]
            draft = merge_facts(
                self.settings,
                [record for record in records if record is not None],
                run_id=run_id,
                pipeline_version=self.pipeline,
                planned=plan.changes,
                now=SEEN + timedelta(days=self.count),
            )
            passed("facts")
            if self.facts_only:
                lake.commit(draft.generation)
                return taken, plan
            draft = build_tiles(self.settings, draft)
            passed("tiles")
            dirty = {*draft.days, *plan.touched_days}
            run_checks(self.settings, draft, _expected(inventory, taken, dirty, days))
            publish(self.settings, draft)
        return taken, plan

    def recognise(self, plan: Plan, run_id: str) -> None:
        """Recognise and record the shards that have no record."""
        lake = open_lake(self.settings)

        def write(shard: Shard, results: Iterator[ImageResult]) -> None:
            write_shard(lake, shard.key, results)

        recognise_shards(lake, plan, run_id, write, now=lambda: SEEN, decode=self.decode)

    def images_named(self, name: str) -> list[dict[str, Any]]:
        """The rows of ``images`` of files of that name."""
        rows = run_sql(self.settings, "SELECT * FROM images ORDER BY uri").to_pylist()
        return [row for row in rows if row["uri"].rsplit("/", 1)[-1] == name]

    def images(self) -> dict[str, dict[str, Any]]:
        """The rows of ``images`` by the photos' names."""
        rows = run_sql(self.settings, "SELECT * FROM images").to_pylist()
        named = {row["uri"].split("::")[0].rsplit("/", 1)[-1]: row for row in rows}
        assert len(named) == len(rows)
        return named


def _expected(
    inventory: SavedInventory, taken: Inventory, dirty: set[date], days: frozenset[date] | None
) -> pa.Table:
    columns = ["uri", "day", "deleted_at"]
    rows = [inventory.read(day, columns) for day in sorted(dirty if days is None else dirty & days)]
    table = pa.concat_tables([inventory.empty(columns), *rows])
    covered = taken.found.scope.covers(table["uri"])
    gone = pc.is_in(table["uri"], value_set=taken.unseen["uri"])
    return table.filter(pc.and_not(pa.array(covered), gone))
