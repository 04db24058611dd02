"""How long an inventory takes and how much memory: new files, unchanged files, and a tar of them.

    python benchmarks/inventory.py --files 100000

Every measurement runs in a process of its own, so that its peak memory is its own. The files are
small, since what is measured is the cost of a file, not of its bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from platemill.archive.inventory import take_inventory
from platemill.recognize.plan import make_plan
from platemill.schema import IMAGES, INVENTORY

LAYOUT = "{camera}/{captured_at:%Y/%m/%d/%H%M%S%f}.jpg"
FILE_BYTES = 2048


def name_of(n: int) -> str:
    """20 cameras, 50 days, and a thousand photos a day and camera at most in a folder."""
    camera, day, place = n % 20, n // 20 % 50, n // 1000
    time_of_day = f"{place // 3600 % 24:02}{place // 60 % 60:02}{place % 60:02}{n % 1000:03}"
    return f"camera-{camera:02}/2026/{1 + day // 28:02}/{1 + day % 28:02}/{time_of_day}.jpg"


def build(folder: Path, files: int) -> None:
    lay_out_small(folder / "photos", files)
    with tarfile.open(folder / "photos.tar", "w") as tar:
        tar.add(folder / "photos", arcname=".")


def lay_out_small(folder: Path, files: int) -> None:
    """Write so many small files, all of them different; what they hold is no image."""
    padding = os.urandom(FILE_BYTES - 16)
    made: set[Path] = set()
    for n in range(files):
        path = folder / name_of(n)
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(b"%016d" % n + padding)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what: str, folder: Path) -> dict[str, object]:
    """One inventory, or one plan, in this process."""
    archive = folder / ("photos.tar" if "tar" in what else "photos")
    snapshot = folder / f"known-{archive.name}.parquet"
    known = pq.read_table(snapshot) if "unchanged" in what else INVENTORY.arrow.empty_table()
    before = peak_mib()
    started, cpu_started = time.perf_counter(), time.process_time()
    if what == "plan":
        columns = ["uri", "image_id", "camera_id", "captured_at", "reason"]
        done = pa.schema([IMAGES.arrow.field(name) for name in columns]).empty_table()
        plan = make_plan(pq.read_table(snapshot), done, "benchmark", 128)
        rows, read = plan.total, len(plan.shards)
    else:
        inventory = take_inventory([archive], LAYOUT, known, max_image_bytes=1 << 30)
        rows, read = inventory.table.num_rows, inventory.new
    seconds = time.perf_counter() - started
    cpu = time.process_time() - cpu_started
    if "new" in what:
        pq.write_table(inventory.table, snapshot)
    return {
        "what": what,
        "rows": rows,
        "read": read,
        "seconds": round(seconds, 2),
        "cpu": round(cpu, 2),
        "before_mib": round(before),
        "peak_mib": round(peak_mib()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--one", help="measure this in this process (internal)")
    parser.add_argument("--folder", type=Path, help="where the files are (internal)")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        build(Path(name), given.files)
        print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
        print("| what | rows | read or shards | s | CPU s | CPU µs a row | MiB | bytes a row |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for what in ("new", "unchanged", "plan", "new tar", "unchanged tar"):
            command = [sys.executable, __file__, "--one", what, "--folder", name]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(answer.stdout)
            more = found["peak_mib"] - found["before_mib"]
            print(
                f"| {what} | {found['rows']:,} | {found['read']:,} | {found['seconds']} | "
                f"{found['cpu']} | {found['cpu'] / found['rows'] * 1e6:.1f} | {more} | "
                f"{more * 2**20 / found['rows']:.0f} |"
            )


if __name__ == "__main__":
    main()
