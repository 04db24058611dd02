"""A planned night of a new home, and its recognition as a job in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from photo_files import inventory_of

from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.recognition import recognition_job
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan, make_plan
from platemill.schema import IMAGES
from platemill.settings import Settings

RUN = "20260501T000000-abcdef"
_DONE = ("uri", "image_id", "camera_id", "captured_at", "reason")
_NOTHING_DONE = pa.schema([IMAGES.arrow.field(name) for name in _DONE]).empty_table()


def plan_all(settings: Settings, archive: Path) -> Plan:
    """Plan all images of an archive, as the run ``RUN``."""
    inventory = inventory_of(
        archive, layout=settings.layout, max_image_bytes=settings.max_image_bytes
    )
    plan = make_plan(inventory.table, _NOTHING_DONE, "p1", settings.shard_images)
    folder = settings.runs / RUN
    folder.mkdir(parents=True, exist_ok=True)
    plan.save(folder)
    return plan


def recognise(
    cluster: PrivateCluster,
    settings: Settings,
    on_progress: Callable[[JobProgress], None] | None = None,
) -> str:
    """Run the job of ``RUN``; returns its log, and prints it."""
    log = settings.runs / RUN / "recognize.log"
    # A test's folder has a name of its own.
    job = replace(recognition_job(settings, RUN), name=f"recognise-{settings.home.parent.name}")
    try:
        cluster.run(job, on_progress)
    finally:
        print(log.read_text() if log.exists() else "no log")
    return log.read_text()


def rows_of(settings: Settings, plan: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of ``images`` and ``recognitions`` by the shards' records, which must be right."""
    lake = open_lake(settings)
    images: list[dict[str, Any]] = []
    recognitions: list[dict[str, Any]] = []
    for shard in plan.shards:
        record = lake.shard(shard.key)
        assert record is not None
        found = pq.read_table(lake.storage.locate(record.images_path)).to_pylist()
        plates = pq.read_table(lake.storage.locate(record.recognitions_path)).to_pylist()
        assert len(found) == shard.images == record.images
        assert len(plates) == record.plates == sum(row["plates"] for row in found)
        images += found
        recognitions += plates
    return images, recognitions
