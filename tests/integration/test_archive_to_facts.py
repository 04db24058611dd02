"""Nights over a real archive with a small fake model, from the inventory to published facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from photo_files import TAKEN, encoded, png_bomb, put, tar_bytes, zip_bytes
from small_lake import settings_for

from platemill.archive.decode import decode_image
from platemill.archive.inventory import Inventory, take_inventory
from platemill.archive.reader import ArchiveReader
from platemill.lake import Lake
from platemill.recognize.plan import Plan, make_plan
from platemill.recognize.recogniser import recognise
from platemill.recognize.shards import write_shard
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.tiles import build_tiles

SEEN = TAKEN + timedelta(days=30)


@dataclass
class Reading:
    boxes: np.ndarray
    texts: list[str]
    raw_texts: list[str]
    confidences: np.ndarray
    detection_scores: np.ndarray


def model(image: np.ndarray) -> Reading:
    """As many plates as the first pixel says, 0 to 2."""
    count = int(image[0, 0, 0]) % 3
    shares = np.full(count, 0.5, np.float32)
    texts = [f"A00{n}AA77" for n in range(count)]
    return Reading(np.ones((count, 4), np.float32), texts, texts, shares, shares)


@dataclass
class Nights:
    """Runs night after night over one home, as the flow's stages do."""

    settings: Settings
    archives: Sequence[Path]
    count: int = 0

    def run(
        self, *, days: frozenset[date] | None = None, between: Any = None
    ) -> tuple[Inventory, Plan]:
        self.count += 1
        run_id = f"r{self.count}"
        lake = Lake(self.settings.lake)
        found = take_inventory(
            self.archives,
            self.settings.layout,
            lake.known_images(),
            days=days,
            max_image_bytes=1 << 20,
        )
        lake.save_inventory(found.table)
        plan = make_plan(found.table, lake.done_images("p1"), "p1", 8, days=days)
        if between is not None:
            between()
        with ArchiveReader() as reader:
            for shard in plan.shards:
                results = recognise(
                    plan.images(shard.key),
                    reader.read,
                    lambda data: decode_image(data, 10**6),
                    model,
                    in_flight=3,
                    run_id=run_id,
                    pipeline_version="p1",
                    now=lambda: SEEN,
                )
                write_shard(lake, shard.key, results)
        if plan.shards:
            records = [lake.shard(shard.key) for shard in plan.shards]
            now = SEEN + timedelta(days=self.count)
            draft = merge_facts(
                self.settings,
                [r for r in records if r is not None],
                run_id=run_id,
                pipeline_version="p1",
                now=now,
            )
            draft = build_tiles(self.settings, draft)
            inventory = found.table
            if days is not None:
                wanted = pa.array(sorted(days), pa.date32())
                inventory = inventory.filter(pc.is_in(inventory["day"], value_set=wanted))
            run_checks(self.settings, draft, inventory)
            publish(self.settings, draft)
        return found, plan

    def images(self) -> dict[str, dict[str, Any]]:
        rows = run_sql(self.settings, "SELECT * FROM images").to_pylist()
        named = {row["uri"].split("::")[0].rsplit("/", 1)[-1]: row for row in rows}
        assert len(named) == len(rows)
        return named


def archive_of_all_kinds(root: Path) -> Path:
    for n in range(30):
        put(root / f"gate/2026/03/{1 + n % 2:02}/0705{n:02}.jpg", encoded(seed=n))
    put(root / "odd/empty.jpg", b"")
    put(root / "odd/half.jpg", encoded()[:400])
    put(root / "odd/text.jpg", b"text")
    put(root / "odd/bomb.png", png_bomb())
    (root / "odd/dangling.jpg").symlink_to(root / "nowhere")
    put(root / "odd/moves.jpg", encoded(seed=40))
    put(root / "odd/goes.jpg", encoded(seed=41))
    put(root / "cut.tar", tar_bytes({"a.jpg": encoded(seed=50), "b.jpg": encoded(seed=51)})[:-9000])
    put(root / "slip.zip", zip_bytes({"../up.jpg": encoded(), "in.jpg": encoded(seed=52)}))
    return root


def test_nights_over_a_changing_archive(tmp_path: Path) -> None:
    root = archive_of_all_kinds(tmp_path / "photos")
    nights = Nights(settings_for(tmp_path / "home"), [root])
    gone = root / "odd/goes.jpg"
    found, plan = nights.run(between=gone.unlink)
    assert plan.table.num_rows == found.seen
    rows = nights.images()
    assert len(rows) == found.seen
    assert Counter(row["reason"] for row in rows.values() if row["reason"]) == {
        "zero_bytes": 1,
        "truncated": 1,
        "not_an_image": 1,
        "too_many_pixels": 1,
        "unreadable": 1,
        "vanished": 1,
        "corrupt_archive": 1,
        "unsafe_path": 1,
    }
    assert {row["status"] for row in rows.values()} == {"recognised", "no_plate", "quarantined"}

    # One photo is gone; the four that could not be used are looked at again, and are as before.
    again, plan = nights.run()
    assert (again.seen, again.new, plan.shards) == (found.seen - 1, 4, ())

    # A touched photo, another photo under an old name, one that is back, a late one, a mended tar.
    later = datetime(2026, 5, 5, tzinfo=UTC)
    put(root / "gate/2026/03/01/070500.jpg", encoded(seed=0), later)
    put(root / "odd/moves.jpg", encoded(seed=60), later)
    put(gone, encoded(seed=41))
    put(root / "gate/2026/02/27/235959.jpg", encoded(seed=61))
    put(root / "cut.tar", tar_bytes({"a.jpg": encoded(seed=50), "b.jpg": encoded(seed=51)}))
    _, plan = nights.run()
    planned = {row["uri"].split("::")[0].rsplit("/", 1)[-1] for row in plan.table.to_pylist()}
    assert planned - {"a.jpg"} == {"moves.jpg", "goes.jpg", "235959.jpg", "b.jpg"}
    rows = nights.images()
    assert rows["moves.jpg"]["day"] == later.date()
    assert rows["goes.jpg"]["reason"] is None
    assert rows["b.jpg"]["reason"] is None
    _, plan = nights.run()
    assert plan.shards == ()


def test_days_are_worked_on_one_by_one(tmp_path: Path) -> None:
    root = archive_of_all_kinds(tmp_path / "photos")
    nights = Nights(settings_for(tmp_path / "home"), [root])
    second = frozenset({date(2026, 3, 2)})
    found, plan = nights.run(days=second)
    assert {shard.day for shard in plan.shards} == second
    assert found.postponed == 15
    whole, rest = nights.run()
    assert whole.seen == found.seen == plan.table.num_rows + rest.table.num_rows
    assert len(nights.images()) == whole.seen
