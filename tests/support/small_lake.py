"""Small nights for tests: photos in, a published generation out, with no recogniser."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.lake import Generation, Lake, ShardRecord, open_lake
from platemill.lake.lease import PUBLISH, Holder
from platemill.lake.storage import clear_disk_errors
from platemill.schema import IMAGES, INVENTORY, RECOGNITIONS, Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.tiles import build_tiles

PROJECT = Path(__file__).resolve().parents[2]
NIGHT = datetime(2026, 6, 1, 3, tzinfo=UTC)


def settings_for(home: Path, **given: Any) -> Settings:
    return Settings(home=home, project=PROJECT, duckdb_threads=1, **given)


def at(text: str) -> datetime:
    """``2026-05-01 10:00`` as a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Photo:
    """An image and the plates on it, as (text, confidence); no text: not well formed."""

    uri: str
    camera: str
    captured_at: datetime
    plates: tuple[tuple[str, float], ...] = ()
    image_id: str | None = None
    reason: str | None = None

    @property
    def content(self) -> str:
        return self.image_id or hashlib.blake2b(self.uri.encode(), digest_size=16).hexdigest()

    @property
    def day(self) -> date:
        return self.captured_at.astimezone(UTC).date()

    def image_row(self, pipeline: str, run_id: str) -> dict[str, Any]:
        status = "quarantined" if self.reason else "recognised" if self.plates else "no_plate"
        return {
            "uri": self.uri,
            "image_id": self.content,
            "camera_id": self.camera,
            "captured_at": self.captured_at,
            "day": self.day,
            "byte_size": 1000,
            "width": None if self.reason else 640,
            "height": None if self.reason else 384,
            "status": status,
            "reason": self.reason,
            "detail": None,
            "stage": None,
            "attempts": 1,
            "plates": len(self.plates),
            "time_source": "layout",
            "modified_at": NIGHT,
            "pipeline_version": pipeline,
            "run_id": run_id,
            "processed_at": NIGHT,
            "deleted_at": None,
        }

    def recognition_rows(self, pipeline: str) -> list[dict[str, Any]]:
        return [
            {
                "uri": self.uri,
                "image_id": self.content,
                "plate_index": index,
                "plate": plate,
                "raw_text": plate or "raw",
                "confidence": confidence,
                "detection_score": 0.5,
                "xmin": 10.0 + index,
                "ymin": 20.0,
                "xmax": 110.0,
                "ymax": 44.0,
                "camera_id": self.camera,
                "captured_at": self.captured_at,
                "day": self.day,
                "pipeline_version": pipeline,
                "processed_at": NIGHT,
            }
            for index, (plate, confidence) in enumerate(self.plates)
        ]


def inventory_of(photos: Iterable[Photo]) -> pa.Table:
    rows = [
        {
            "uri": photo.uri,
            "image_id": photo.content,
            "camera_id": photo.camera,
            "captured_at": photo.captured_at,
            "day": photo.day,
            "byte_size": 1000,
            "modified_at": NIGHT,
            "time_source": "layout",
        }
        for photo in photos
    ]
    return pa.Table.from_pylist(rows, schema=INVENTORY.arrow)


def stage(
    lake: Lake, photos: Sequence[Photo], run_id: str, pipeline: str = "p1"
) -> list[ShardRecord]:
    """Stage photos as one shard a day and record it, as a worker does."""
    records = []
    for day in sorted({photo.day for photo in photos}):
        chosen = [photo for photo in photos if photo.day == day]
        names = " ".join(
            f"{photo.content} {photo.uri} {photo.camera} {photo.captured_at} {photo.plates}"
            for photo in chosen
        )
        key = hashlib.blake2b(f"{names} {pipeline}".encode(), digest_size=16).hexdigest()
        rows = [photo.image_row(pipeline, run_id) for photo in chosen]
        images = _stage(lake, key, run_id, IMAGES, rows)
        plates = [row for photo in chosen for row in photo.recognition_rows(pipeline)]
        recognitions = _stage(lake, key, run_id, RECOGNITIONS, plates)
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        record = ShardRecord(key, day, run_id, run_id, images, recognitions, counts, len(plates))
        lake.record_shard(key, record)
        stored = lake.shard(key)
        assert stored is not None
        records.append(stored)
    return records


def _stage(lake: Lake, key: str, attempt: str, table: Table, rows: list[dict[str, Any]]) -> str:
    temporary = lake.storage.temporary(".parquet")
    try:
        with clear_disk_errors(lake.root):
            pq.write_table(pa.Table.from_pylist(rows, schema=table.arrow), temporary)
        return lake.stage(key, attempt, table.name, temporary)
    finally:
        temporary.unlink(missing_ok=True)


def draft_night(
    settings: Settings,
    photos: Sequence[Photo],
    run_id: str = "r1",
    pipeline: str = "p1",
    now: datetime = NIGHT,
) -> Draft:
    """Facts and tiles of a night, not published."""
    lake = open_lake(settings)
    records = stage(lake, photos, run_id, pipeline)
    draft = merge_facts(
        settings,
        records,
        run_id=run_id,
        pipeline_version=pipeline,
        fences={PUBLISH: used_token(lake, run_id)},
        now=now,
    )
    return build_tiles(settings, draft)


def used_token(lake: Lake, run_id: str) -> int:
    """A token of the publish lease, which is free again."""
    with Holder(lake.storage, run_id) as holder:
        return holder.acquire(PUBLISH, above=lake.fence(PUBLISH)).token


def night(
    settings: Settings,
    photos: Sequence[Photo],
    run_id: str = "r1",
    pipeline: str = "p1",
    now: datetime = NIGHT,
) -> Generation:
    """A night up to the publication, without the feature store, and without the checks."""
    return publish(settings, draft_night(settings, photos, run_id, pipeline, now))


def later(nights: int) -> datetime:
    """The time of a later night."""
    return NIGHT + timedelta(days=nights)
