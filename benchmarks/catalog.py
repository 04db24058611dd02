"""What the catalogue of a large home costs: seconds, memory and bytes of pages.

    python benchmarks/catalog.py --days 120 --images 20000

Makes a home of made-up recognitions (the same as ``dirty_tiles.py``), publishes it and writes its
catalogue twice: with all rows looked at, and with the sample that is the default.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dirty_tiles import FIRST, stage_day

from platemill.catalog import write_catalog
from platemill.catalog.statistics import SAMPLE_ROWS
from platemill.lake import open_lake
from platemill.settings import Settings
from platemill.warehouse.facts import merge_facts
from platemill.warehouse.publish import publish
from platemill.warehouse.tiles import build_tiles


def make_home(home: Path, days: int, images: int) -> None:
    settings = Settings(home=home)
    lake = open_lake(settings)
    records = [stage_day(lake, FIRST + timedelta(days=n), images) for n in range(days)]
    draft = merge_facts(settings, records, run_id="made", pipeline_version="p1")
    publish(settings, build_tiles(settings, draft))


def measure(home: Path, out: Path, sample_rows: int) -> dict[str, Any]:
    said = write_catalog(Settings(home=home), out, sample_rows=sample_rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    kept = ("seconds", "bytes", "pages", "rows", "sampled")
    return {**{name: said[name] for name in kept}, "peak_rss_mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--images", type=int, default=20_000, help="a day, a plate each")
    parser.add_argument("--all", action="store_true", help="measure without sampling, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, out = Path(folder, "home"), Path(folder, "out")
        spawn = multiprocessing.get_context("spawn")

        # A process each: memory is counted to the highest point of a process.
        def apart(call: Any, *given: Any) -> Any:
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                return pool.submit(call, *given).result()

        apart(make_home, home, asked.days, asked.images)
        said = {"sampled": apart(measure, home, out, SAMPLE_ROWS)}
        if asked.all:
            said["all"] = apart(measure, home, out, 10**12)
    print(
        json.dumps(
            {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "recognitions": asked.days * asked.images,
                "days": asked.days,
                **said,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
