"""What a night costs before its first photo, and what one costs that finds nothing new.

    .venv/bin/python benchmarks/quiet.py --files 1000000 --rounds 3

*Quiet*: an archive of so many small files that are all known and recognised already, and then
``platemill run`` over it: the whole command, from its start to its end. The facts are made up and
published under the version of the models as they are; the inventory is the real one.

*Cold*: a new home and an archive of one photo; nothing runs. From the start of ``platemill run`` to
the record of the shard that holds it, and to the end of the command. The file system's cache is
warm in both.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inventory import LAYOUT, lay_out_small
from machine import machine
from photos import lay_out, rendered
from plan_ten_million import commit, facts_of, write_facts
from rich.console import Console
from rich.table import Table

from platemill.journal import read_journal
from platemill.lake import open_lake
from platemill.lake.inventory import newest_inventory
from platemill.launch.night import new_run_id
from platemill.launch.stages import Night
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings, load_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    work = (given.out / "quiet").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    settings = load_settings(home=work / "home", layout=LAYOUT)
    lay_out_small(work / "photos", given.files)
    first = know_all(settings, work / "photos")
    # Not measured: it finishes what the made-up generation left to do, its pointers and store.
    quiet(settings, work / "photos", given.files)
    record: dict[str, Any] = {
        "machine": machine(settings.triton_interpreter),
        "files": given.files,
        "first_inventory_seconds": first,
        "quiet": [quiet(settings, work / "photos", given.files) for _ in range(given.rounds)],
        "cold": [cold(work, number) for number in range(given.rounds)],
    }
    shutil.rmtree(work)
    path = given.out / f"quiet-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(record, indent=1))
    show(record)
    print(path)


def know_all(settings: Settings, archive: Path) -> float:
    """Take the inventory, and publish facts of all it finds; returns the inventory's seconds."""
    night = Night.new(settings, new_run_id(), [str(archive)], None)
    began = time.perf_counter()
    night.inventory()
    seconds = time.perf_counter() - began
    lake = open_lake(settings)
    version = pipeline_version(repository_of(settings))
    inventory = newest_inventory(lake.storage)
    files = {
        day: write_facts(lake, day, facts_of(inventory.read(day), version), version)
        for day in inventory.days
    }
    commit(lake, files, version)
    return seconds


def command(settings: Settings, archive: Path) -> tuple[float, dict[str, Any]]:
    """Run a night from the command line; returns when it began and its answer."""
    words = [sys.executable, "-m", "platemill", "run", "--home", str(settings.home)]
    words += ["--archive", str(archive), "--layout", settings.layout, "--json"]
    began = time.time()
    told = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answer: dict[str, Any] = json.loads(told.stdout)
    return began, answer


def quiet(settings: Settings, archive: Path, files: int) -> dict[str, float]:
    """The seconds of a night that finds nothing new."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, answer = command(settings, archive)
    seconds = time.time() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if (answer["images_seen"], answer["images_new"]) != (files, 0):
        raise SystemExit(f"not a quiet night: {answer}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": after.ru_maxrss / 1024}


def cold(work: Path, number: int) -> dict[str, float]:
    """The seconds of a night of one photo in a new home."""
    settings = load_settings(home=work / f"cold-{number}")
    lay_out(rendered("720p", 1), 1, work / "one")
    began, answer = command(settings, work / "one")
    ended = time.time()
    journal = read_journal(settings.runs / answer["run_id"])
    (shard,) = (line for line in journal if line["event"] == "shard")
    recorded = datetime.fromisoformat(shard["ended"]).timestamp()
    shutil.rmtree(settings.home)
    return {"first_photo_seconds": recorded - began, "seconds": ended - began}


def show(record: dict[str, Any]) -> None:
    table = Table("what", "median s", "from", "to")
    spans = (
        (f"nothing new in {record['files']:,} files", "quiet", "seconds"),
        ("the same, CPU", "quiet", "cpu_seconds"),
        ("cold start to the first photo's record", "cold", "first_photo_seconds"),
        ("cold start to the end of a night of one photo", "cold", "seconds"),
    )
    for what, part, name in spans:
        values = [one[name] for one in record[part]]
        cells = (statistics.median(values), min(values), max(values))
        table.add_row(what, *(f"{value:.1f}" for value in cells))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
