"""Planning over an archive of ten million images: seconds and memory of the planning process.

    python benchmarks/plan_ten_million.py --images 10000000 --days 365

Writes a made-up inventory and the facts that fit it, then plans in a process of its own for each
case: nothing new, one late image, everything new; at last loads the greatest plan and asks for a
shard's images, as the Ray driver does. Prints the machine and a row a case.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from platemill.archive.scope import Scope
from platemill.lake import FileEntry, Generation, Lake, open_lake
from platemill.lake.files import write_parquet
from platemill.lake.identity import digest_of_images
from platemill.lake.inventory import SavedInventory, newest_inventory, save_inventory
from platemill.recognize.night_plan import plan_night
from platemill.recognize.plan import Plan
from platemill.schema import IMAGES, INVENTORY, SCHEMA_VERSION
from platemill.settings import Settings

FIRST = date(2025, 1, 1)
VERSION = "0123456789ab"
SCOPE = Scope(("file:///photos",))


def made_day(day: date, images: int, first: int = 0) -> pa.Table:
    """Made-up inventory rows of a day, 40 cameras, in the order of their URIs."""
    numbers = np.arange(first, first + images)
    random = np.random.default_rng(day.toordinal() + first)
    ids = [random.bytes(16).hex() for _ in range(images)]
    seconds = (numbers % 86_400).astype("timedelta64[s]")
    taken = np.datetime64(day, "us") + seconds
    uris = [f"file:///photos/camera-{n % 40:02}/{day:%Y/%m/%d}/{n:06}.jpg" for n in numbers]
    nothing = {
        name: pa.nulls(images, INVENTORY.arrow.field(name).type)
        for name in INVENTORY.arrow.names
        if INVENTORY.arrow.field(name).nullable
    }
    columns = {
        "uri": uris,
        "image_id": ids,
        "camera_id": [f"camera-{n % 40:02}" for n in numbers],
        "captured_at": pa.array(taken).cast(pa.timestamp("us", tz="UTC")),
        "day": pa.array([day] * images),
        "byte_size": numbers + 100_000,
        "modified_at": pa.array(taken).cast(pa.timestamp("us", tz="UTC")),
        "time_source": ["layout"] * images,
        **nothing,
    }
    return pa.table(columns).select(INVENTORY.arrow.names).cast(INVENTORY.arrow).sort_by("uri")


def facts_of(rows: pa.Table, version: str = VERSION) -> pa.Table:
    """The rows of ``images`` that a night makes of an inventory's."""
    count = rows.num_rows
    columns = {}
    for field in IMAGES.arrow:
        if field.name in INVENTORY.arrow.names:
            columns[field.name] = rows[field.name]
        elif field.nullable:
            columns[field.name] = pa.nulls(count, field.type)
        elif pa.types.is_string(field.type):
            text = {"pipeline_version": version, "status": "no_plate"}.get(field.name, "r")
            columns[field.name] = pa.array([text] * count)
        elif pa.types.is_timestamp(field.type):
            columns[field.name] = rows["modified_at"]
        else:
            columns[field.name] = pa.array(np.ones(count, np.int64))
    return pa.table(columns).cast(IMAGES.arrow)


def prepare(lake: Lake, images: int, days: int) -> None:
    """Save an inventory of everything and publish facts of everything."""
    inventory = SavedInventory(lake.storage)
    files = {}
    for number in range(days):
        day = FIRST + timedelta(days=number)
        rows = made_day(day, images // days)
        inventory = save_inventory(lake.storage, inventory, rows)
        files[day] = write_facts(lake, day, facts_of(rows), VERSION)
    commit(lake, files, VERSION)


def write_facts(lake: Lake, day: date, facts: pa.Table, version: str) -> FileEntry:
    """Write a day of ``images`` as a night does, with the digest that planning looks at."""
    prefix = f"images/day={day.isoformat()}/"
    entry = write_parquet(lake.storage, prefix, IMAGES.arrow, facts.to_batches(65_536))
    assert entry is not None
    return replace(entry, digest=f"{version}:{digest_of_images(facts)}")


def commit(lake: Lake, files: dict[date, FileEntry], version: str) -> None:
    """Publish days of ``images`` as the first generation, without any other table."""
    tables = {"images": files}
    now = datetime.now(UTC)
    lake.commit(Generation(1, None, "benchmark", now, version, SCHEMA_VERSION, tables))


def plan(lake: Lake, case: str, folder: Path) -> dict[str, object]:
    """Plan one case in this process."""
    version = "another version" if case == "everything new" else VERSION
    start, cpu = time.perf_counter(), time.process_time()
    made = plan_night(folder, lake, newest_inventory(lake.storage), version, 128, scope=SCOPE)
    seconds = time.perf_counter() - start
    return {
        "case": case,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "images": made.total,
        "shards": len(made.shards),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def load(folder: Path) -> dict[str, object]:
    """Load a plan and read one shard, as the driver of a Ray job does."""
    start = time.perf_counter()
    loaded = Plan.load(folder)
    seconds = time.perf_counter() - start
    images = loaded.images(loaded.shards[len(loaded.shards) // 2].key)
    return {
        "case": "load the plan, read one shard",
        "seconds": round(seconds, 2),
        "with_shard": round(time.perf_counter() - start, 2),
        "images": len(images),
        "shards": len(loaded.shards),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def measured(home: Path, case: str) -> dict[str, object]:
    """Run a case in a process of its own, whose memory is the case's alone."""
    command = [sys.executable, __file__, "--home", str(home), "--case", case]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, object] = json.loads(answer.stdout)
    return told


def cases(home: Path, images: int, days: int) -> Iterator[dict[str, object]]:
    lake = open_lake(Settings(home=home))
    start = time.perf_counter()
    prepare(lake, images, days)
    yield {"case": "prepared", "seconds": round(time.perf_counter() - start, 1)}
    yield measured(home, "nothing new")
    late = made_day(FIRST + timedelta(days=days // 2), 1, 999_999)
    save_inventory(lake.storage, newest_inventory(lake.storage), late)
    yield measured(home, "one late image")
    yield measured(home, "everything new")
    yield measured(home, "load")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--case")
    asked = parser.parse_args()
    if asked.case is not None:
        folder = asked.home / "runs" / "everything new"
        if asked.case == "load":
            print(json.dumps(load(folder)))
            return
        folder = asked.home / "runs" / asked.case
        folder.mkdir(parents=True)
        print(json.dumps(plan(open_lake(Settings(home=asked.home)), asked.case, folder)))
        return
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"machine": machine, "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M}"}))
    with tempfile.TemporaryDirectory() as folder_name:
        for row in cases(Path(folder_name), asked.images, asked.days):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
