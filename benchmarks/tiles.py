"""A full build of the tiles against one late image of one old day, over made-up recognitions.

    python benchmarks/tiles.py --rows 100_000_000 --days 365 --folder /tmp/tiles

The facts are written first and are no part of what is measured. Then a full build, its checks and
its publication; then one image of a day in the middle, as a night has it: merged into the facts,
tiles, checks, publication. Each of the two runs in a process of its own. Prints the machine, wall
and CPU seconds by stage, the share of the second in the first, and the most memory of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.lake import FileEntry, Lake, ShardRecord, open_lake
from platemill.lake.files import write_parquet
from platemill.lake.generation import Generation
from platemill.schema import FACTS, IMAGES, RECOGNITIONS, SCHEMA_VERSION
from platemill.settings import Settings
from platemill.warehouse.checks import run_checks
from platemill.warehouse.draft import Draft
from platemill.warehouse.facts import PlannedChanges, merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.tiles import build_tiles

FIRST = date(2025, 1, 1)
CAMERAS = 400
REGULARS = 300_000
PASSERS = 20_000_000
PASSED = 4
PIPELINE = "p1"

# A plate a photo on average: one in ten has none, one in ten has two. Fewer photos at weekends and
# by night; busy cameras and quiet ones. A vehicle passes four cameras on its way.
IMAGE_ROWS = """
SELECT
    format('file:///archive/c{:03d}/{}/{:07d}.jpg', camera, $day, i) AS uri,
    md5(uri) AS image_id,
    format('c{:03d}', camera) AS camera_id,
    $day::DATE::TIMESTAMP AT TIME ZONE 'UTC' + to_microseconds(at_us) AS captured_at,
    $day::DATE AS day,
    (90000 + hash(i) % 20000)::BIGINT AS byte_size,
    1920::INT AS width,
    1080::INT AS height,
    CASE WHEN plates = 0 THEN 'no_plate' ELSE 'recognised' END AS status,
    NULL::VARCHAR AS reason,
    NULL::VARCHAR AS detail,
    NULL::VARCHAR AS stage,
    1::BIGINT AS attempts,
    plates,
    'layout' AS time_source,
    captured_at AS modified_at,
    $pipeline AS pipeline_version,
    'made-up' AS run_id,
    $day::DATE::TIMESTAMP AT TIME ZONE 'UTC' + INTERVAL 26 HOUR AS processed_at,
    NULL::TIMESTAMPTZ AS deleted_at,
    i // $passed AS way
FROM (
    SELECT
        i,
        -- The square makes low numbers busier.
        floor($cameras * pow(hash(i, $day, 'camera') % 1000000 / 1e6, 2))::INT AS camera,
        CASE hash(i, $day, 'plates') % 10 WHEN 0 THEN 0 WHEN 1 THEN 2 ELSE 1 END AS plates,
        -- The mean of two spreads has its middle at noon.
        CAST(
            (hash(i, $day, 'a') % 86400000000 + hash(i, $day, 'b') % 86400000000) // 2 AS BIGINT
        ) AS at_us
    FROM range($first, $last) AS made (i)
)
ORDER BY uri
"""
RECOGNITION_ROWS = """
SELECT
    uri,
    image_id,
    plate_index,
    CASE WHEN hash(uri, plate_index, 'formed') % 50 = 0 THEN '' ELSE text END AS plate,
    text AS raw_text,
    confidence,
    (0.5 + hash(uri, plate_index, 'box') % 500 / 1000)::FLOAT AS detection_score,
    (hash(uri, plate_index, 'x') % 1800)::FLOAT AS xmin,
    (hash(uri, plate_index, 'y') % 1000)::FLOAT AS ymin,
    xmin + 110 AS xmax,
    ymin + 30 AS ymax,
    camera_id,
    captured_at,
    day,
    pipeline_version,
    processed_at
FROM (
    SELECT
        *,
        format(
            '{}{:03d}{}{}{:02d}',
            letters[1 + vehicle % 12],
            vehicle // 12 % 1000,
            letters[1 + vehicle // 12000 % 12],
            letters[1 + vehicle // 144000 % 12],
            77 + vehicle // 1728000
        ) AS text,
        (1 - pow(hash(uri, plate_index, 'sure') % 10000 / 1e4, 3) / 2)::FLOAT AS confidence
    FROM (
        SELECT
            *,
            ['A', 'B', 'E', 'K', 'M', 'H', 'O', 'P', 'C', 'T', 'Y', 'X'] AS letters,
            -- Six of ten ways are of vehicles that come often.
            CASE
                WHEN hash(way, day, plate_index, 'regular') % 10 < 6
                    THEN hash(way, day, plate_index, 'v') % $regulars
                ELSE $regulars + hash(way, day, plate_index, 'w') % $passers
            END::BIGINT AS vehicle
        FROM (
            SELECT *, unnest(range(plates))::INT AS plate_index FROM images
        )
    )
)
ORDER BY uri, plate_index
"""


def made_day(
    connection: duckdb.DuckDBPyConnection, day: date, first: int, last: int
) -> dict[str, Callable[[], Any]]:
    """Made-up images and recognitions of a day, as readers of record batches."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE images AS {IMAGE_ROWS}",
        {
            "day": day,
            "first": first,
            "last": last,
            "pipeline": PIPELINE,
            "cameras": CAMERAS,
            "passed": PASSED,
        },
    )
    parameters = {"regulars": REGULARS, "passers": PASSERS}
    return {
        IMAGES.name: lambda: connection.sql("SELECT * EXCLUDE (way) FROM images").to_arrow_reader(
            65_536
        ),
        RECOGNITIONS.name: lambda: connection.sql(
            RECOGNITION_ROWS, params=parameters
        ).to_arrow_reader(65_536),
    }


def photos_of(day: date, rows: int, days: int) -> int:
    """Photos of a day: fewer on Saturday and Sunday."""
    weights = [0.8 if (FIRST + timedelta(days=n)).weekday() >= 5 else 1.0 for n in range(days)]
    return round(rows * weights[(day - FIRST).days] / sum(weights))


def make_facts(lake: Lake, settings: Settings, rows: int, days: int) -> None:
    """Write the facts, and what they are as a draft to build on."""
    tables: dict[str, dict[date, FileEntry]] = {table.name: {} for table in FACTS}
    with duckdb.connect(config={"threads": settings.duckdb_threads}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for n in range(days):
            day = FIRST + timedelta(days=n)
            made = made_day(connection, day, 0, photos_of(day, rows, days))
            for table in FACTS:
                folder = f"{table.name}/day={day}/00000000-"
                entry = write_parquet(lake.storage, folder, table.arrow, made[table.name]())
                assert entry is not None
                tables[table.name][day] = entry
    (lake.root / "facts.json").write_bytes(_manifest(tables).to_json())


def _manifest(tables: dict[str, dict[date, FileEntry]]) -> Generation:
    # The night after the last day.
    last = max(tables[IMAGES.name])
    at = datetime(last.year, last.month, last.day, 3, tzinfo=UTC) + timedelta(days=1)
    return Generation(1, None, "full", at, PIPELINE, SCHEMA_VERSION, dict(tables))


class Stages:
    """Wall and CPU seconds of stages."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add what happens inside to a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = round(time.perf_counter() - wall, 3)
        self.cpu[name] = round(time.process_time() - cpu, 3)

    def report(self) -> dict[str, Any]:
        """All of it, and the most memory the process has held."""
        return {
            "wall_s": self.wall,
            "cpu_s": self.cpu,
            "wall_total_s": round(sum(self.wall.values()), 2),
            "cpu_total_s": round(sum(self.cpu.values()), 2),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def full_build(settings: Settings) -> dict[str, Any]:
    """Tiles, checks and publication of all days."""
    lake = open_lake(settings)
    generation = Generation.from_json((lake.root / "facts.json").read_bytes())
    days = tuple(sorted(generation.partitions(IMAGES.name)))
    changed = {table.name: days for table in FACTS}
    draft = Draft(generation, None, days, changed)
    return _finish(settings, draft, Stages())


def late_image(settings: Settings) -> dict[str, Any]:
    """One image of the middle day, from its staged row to the publication."""
    lake = open_lake(settings)
    parent = lake.current()
    assert parent is not None
    days = sorted(parent.partitions(IMAGES.name))
    record = _stage(lake, days[len(days) // 2], parent)
    stages = Stages()
    with stages.time("facts"):
        draft = merge_facts(
            settings,
            [record],
            run_id="late",
            pipeline_version=PIPELINE,
            planned=PlannedChanges(base=parent.number),
            now=parent.created_at + timedelta(days=1),
        )
    return _finish(settings, draft, stages)


def _stage(lake: Lake, day: date, parent: Generation) -> ShardRecord:
    # Beyond the day's photos, and another one each time.
    number = 5_000_000 + 1000 * parent.number
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        while True:
            made = made_day(connection, day, number, number + 1)
            rows = {name: read().read_all() for name, read in made.items()}
            if rows[RECOGNITIONS.name].num_rows == 1:
                break
            number += 1
    key = f"late-{number}"
    names = []
    for table in FACTS:
        temporary = lake.storage.temporary(".parquet")
        pq.write_table(rows[table.name].cast(table.arrow), temporary)
        names.append(lake.stage(key, "a", table.name, temporary))
        temporary.unlink()
    record = ShardRecord(key, day, "late", "a", names[0], names[1], {"recognised": 1}, 1)
    lake.record_shard(key, record)
    return record


def _finish(settings: Settings, draft: Draft, stages: Stages) -> dict[str, Any]:
    with stages.time("tiles"):
        draft = build_tiles(settings, draft)
    with stages.time("checks"):
        run_checks(settings, draft, _inventory(settings, draft))
    with stages.time("publish"):
        publish(settings, draft)
    rows = {
        table: sum(entry.rows for entry in files.values())
        for table, files in draft.generation.tables.items()
    }
    return {**stages.report(), "rows": rows}


def _inventory(settings: Settings, draft: Draft) -> Iterator[pa.Table]:
    """What the archive holds on the days that changed: as many images as there are."""
    lake = open_lake(settings)
    for day in draft.days:
        path = lake.storage.locate(draft.generation.partitions(IMAGES.name)[day].path)
        yield pq.read_table(path, columns=["uri", "day", "deleted_at"], partitioning=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="recognitions, about")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--folder", type=Path, required=True, help="for the home; it is removed")
    parser.add_argument("--memory", default="4GB", help="DuckDB's limit")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--keep", action="store_true", help="keep the home, and use one that is kept"
    )
    parser.add_argument("--only", choices=["full", "late"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    settings = Settings(
        home=asked.folder / "home", duckdb_memory=asked.memory, duckdb_threads=asked.threads
    )
    if asked.only:
        measure = {"full": full_build, "late": late_image}[asked.only]
        print(json.dumps(measure(settings)))
        return
    lake = open_lake(settings)
    seconds = 0.0
    if not (lake.root / "facts.json").exists():
        start = time.perf_counter()
        make_facts(lake, settings, asked.rows, asked.days)
        seconds = time.perf_counter() - start
    steps = ["late"] if lake.numbers() else ["full", "late"]
    found = {step: _apart(step) for step in steps}
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "duckdb": duckdb.__version__,
        "duckdb_memory": asked.memory,
        "duckdb_threads": asked.threads,
        "asked": {"rows": asked.rows, "days": asked.days},
        "made_in_s": round(seconds, 1),
        **found,
        "lake_bytes": sum(path.stat().st_size for path in lake.root.rglob("*.parquet")),
    }
    if len(found) == 2:
        full, late = found["full"], found["late"]
        report["late_share"] = {
            "wall": round(late["wall_total_s"] / full["wall_total_s"], 5),
            "cpu": round(late["cpu_total_s"] / full["cpu_total_s"], 5),
        }
    print(json.dumps(report, indent=1))
    if not asked.keep:
        shutil.rmtree(asked.folder / "home")


def _apart(step: str) -> dict[str, Any]:
    """A step in a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--only", step],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
