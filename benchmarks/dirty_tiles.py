"""A full build of the tiles against one late image, over recognitions that are made up.

    python benchmarks/dirty_tiles.py --days 60 --images 20000

Prints the machine, seconds of facts, tiles, checks and publication for a first night over all the
days and for a second night that brings one image of an old day, and the lake's bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.lake import Lake, ShardRecord, open_lake
from platemill.schema import IMAGES, INVENTORY, RECOGNITIONS
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.tiles import build_tiles

FIRST = date(2026, 1, 1)
IMAGE_ROWS = """
SELECT format('file:///c{}/{}-{}.jpg', i % 40, $day, i) AS uri, md5(uri) AS image_id,
    format('c{}', i % 40) AS camera_id,
    $day::TIMESTAMP AT TIME ZONE 'UTC' + to_microseconds(86400000000 * i // $images) AS captured_at,
    $day::DATE AS day, 100000::BIGINT AS byte_size, 1920::INT AS width, 1080::INT AS height,
    'recognised' AS status, NULL::VARCHAR AS reason, NULL::VARCHAR AS detail,
    NULL::VARCHAR AS stage, 1::BIGINT AS attempts, 1::INT AS plates,
    'layout' AS time_source, captured_at AS modified_at, 'p1' AS pipeline_version, 'r' AS run_id,
    captured_at AS processed_at, NULL::TIMESTAMPTZ AS deleted_at
FROM range($first, $images) t(i)
"""
RECOGNITION_ROWS = """
SELECT uri, image_id, 0::INT AS plate_index,
    format('A{:03d}AA{:02d}', hash(uri) % 1000, hash(uri || 'r') % 50) AS plate, plate AS raw_text,
    (hash(uri) % 10000 / 10000)::FLOAT AS confidence, 0.9::FLOAT AS detection_score,
    1::FLOAT AS xmin, 1::FLOAT AS ymin, 100::FLOAT AS xmax, 30::FLOAT AS ymax,
    camera_id, captured_at, day, pipeline_version, processed_at
FROM made
"""


def stage_day(lake: Lake, day: date, images: int, first: int = 0) -> ShardRecord:
    """Stage made-up rows of a day as one shard."""
    key = f"{day}-{first}"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        made = connection.sql(IMAGE_ROWS, params={"day": day, "first": first, "images": images})
        rows = made.to_arrow_table().cast(IMAGES.arrow)
        connection.register("made", rows)
        plates = connection.sql(RECOGNITION_ROWS).to_arrow_table().cast(RECOGNITIONS.arrow)
    names = []
    for table, what in ((IMAGES, rows), (RECOGNITIONS, plates)):
        temporary = lake.storage.temporary(".parquet")
        pq.write_table(what, temporary)
        names.append(lake.stage(key, "a", table.name, temporary))
        temporary.unlink()
    counts = {"recognised": rows.num_rows}
    record = ShardRecord(key, day, "r", "a", names[0], names[1], counts, plates.num_rows)
    lake.record_shard(key, record)
    return record


def night(settings: Settings, records: list[ShardRecord], run_id: str) -> dict[str, float]:
    """Publish shards and time the stages."""
    seconds = {}
    start = time.perf_counter()
    draft = merge_facts(settings, records, run_id=run_id, pipeline_version="p1")
    seconds["facts"] = time.perf_counter() - start
    start = time.perf_counter()
    draft = build_tiles(settings, draft)
    seconds["tiles"] = time.perf_counter() - start
    start = time.perf_counter()
    run_checks(settings, draft, _inventory(settings, records))
    seconds["checks"] = time.perf_counter() - start
    start = time.perf_counter()
    publish(settings, draft)
    seconds["publish"] = time.perf_counter() - start
    return {name: round(value, 2) for name, value in seconds.items()}


def _inventory(settings: Settings, records: list[ShardRecord]) -> pa.Table:
    lake = open_lake(settings)
    columns = [name for name in INVENTORY.arrow.names if name in IMAGES.arrow.names]
    parts = [pq.read_table(lake.storage.locate(r.images_path), columns=columns) for r in records]
    table = pa.concat_tables(parts)
    for field in INVENTORY.arrow:
        if field.name not in columns:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(INVENTORY.arrow.names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--images", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        lake = open_lake(settings)
        days = [FIRST + timedelta(days=n) for n in range(asked.days)]
        records = [stage_day(lake, day, asked.images) for day in days]
        full = night(settings, records, "full")
        late = night(settings, [stage_day(lake, days[2], asked.images + 1, asked.images)], "late")
        size = sum(
            p.stat().st_size for p in lake.root.rglob("*.parquet") if "_staging" not in str(p)
        )
    print(
        json.dumps(
            {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "images": asked.days * asked.images,
                "full": full,
                "late": late,
                "tiles_late_share": round(late["tiles"] / full["tiles"], 4),
                "lake_bytes": size,
                "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
