"""The night's recognition stage beside other ways to recognise the same photos: images a second.

    .venv/bin/python benchmarks/night.py --images 600 --rounds 5 --photos FOLDER --out build/bench

Every way gets the same files, the same networks and all cores, one way after another, and the ways
take turns in every round. Figures are medians of the rounds, with the smallest and the largest; a
ratio is the median of the rounds' ratios. Starts, loading and warming up are not measured.

- ``night``: JPEG files to committed Parquet by the job of a night: Ray, Triton, the lake. From the
  start of the first shard to the record of the last one.
- ``torch``: a loop in one process, written by hand: read, decode, networks, no checks, nothing
  written. The best of a few shapes and batch sizes, found by a small sweep at the beginning.
- ``single``: one synchronous ``tritonclient`` loop over ``plate_recognition`` with raw frames.
- ``data``: Ray Data with the networks in its actors, into Parquet.
- ``bulk``: ``plate_bulk`` asked by a small client, without Ray; ``frames``: ``plate_recognition``
  with many frames in flight.

What each way gives for every photo is compared with what ``plate_recognition`` gives for it alone,
bit for bit; a difference ends the benchmark. CPU milliseconds are those of all processes that a way
needs, so they tell, on a busy machine too, what a way costs. One JSON file a run; a table in the
end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from cpu import Watch
from machine import machine
from photos import SIZES, lay_out, own, rendered
from planned import forget, recognise_archive
from rich.console import Console
from rich.table import Table as Grid

from platemill.archive.decode import decode_image
from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings, load_settings

WAYS = ("night", "torch", "single", "data", "bulk", "frames")
RATIOS = (
    ("night", "torch", "the night against the loop by hand", "at least 0.90"),
    ("night", "single", "the night against one synchronous client", "at least 3"),
    ("night", "data", "the night against Ray Data", "at least 1.0"),
    ("bulk", "torch", "bulk through Triton against the loop by hand", "at least 0.85"),
)
_WAYS_FILE = Path(__file__).with_name("ways.py")
_FRAMES_IN_FLIGHT = 6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=240, help="photos of a way in a round")
    parser.add_argument("--different", type=int, default=48, help="different rendered photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=[*SIZES])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs of one's own, repeated")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--sweep", type=int, default=96, help="photos of a trial of the loop")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    work = (given.out / "work").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    bench = Bench(work, given)
    sets = {size: rendered(size, given.different) for size in given.sizes}
    if given.photos:
        sets["own"] = own(given.photos)
    record = {
        "machine": machine(bench.settings.triton_interpreter),
        "images": given.images,
        "rounds": given.rounds,
        "sets": {name: bench.run(name, files) for name, files in sets.items()},
    }
    shutil.rmtree(work)
    path = given.out / f"night-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(record, indent=1))
    show(record)
    print(path)


class Bench:
    """Runs the ways over one set of photos after another."""

    def __init__(self, work: Path, given: argparse.Namespace) -> None:
        self.work = work
        self.given = given
        self.settings = load_settings(home=work / "home")
        self.loop: dict[str, int] = {}
        self.nights = 0

    def run(self, name: str, files: list[bytes]) -> dict[str, Any]:
        paths = lay_out(files, self.given.images, self.work / name)
        self.list = self.work / f"{name}.txt"
        self.list.write_text("\n".join(map(str, paths)))
        with self.server():
            self.expected = self.alone(files, paths)
            trials = self.sweep() if "torch" in self.given.ways else {}
        seen: dict[str, list[dict[str, Any]]] = {way: [] for way in self.given.ways}
        for number in range(self.given.rounds):
            for way in self.given.ways:
                figures = self.night(name) if way == "night" else self.way(way)
                seen[way].append(figures)
                rate, cpu = figures["images_per_second"], figures["cpu_ms"]
                print(f"{name} {number} {way}: {rate:.1f}/s, {cpu:.1f} CPU ms", file=sys.stderr)
        return {"loop": self.loop, "trials": trials, "rounds": seen}

    @contextlib.contextmanager
    def server(self) -> Iterator[EmbeddedTriton]:
        folder = self.work / "triton"
        with EmbeddedTriton.of(self.settings, self.settings.models, folder) as server:
            yield server

    def alone(self, files: list[bytes], paths: list[Path]) -> dict[str, Any]:
        """What each photo gives when nothing else is asked."""
        from ways import row_of

        with PlateClient(self.address(), slots=1) as client:
            rows = [row_of(client(decode_image(file, 10**9))) for file in files]
        return {str(path): rows[n % len(rows)] for n, path in enumerate(paths)}

    def address(self) -> str:
        state = json.loads((self.work / "triton" / "triton.json").read_text())
        return str(state["grpc"])

    def roots(self) -> list[int]:
        """This process, and the supervisors of servers, which are nobody's children."""
        found = [os.getpid()]
        states = ("triton/triton.json", "home-*/runs/*/triton-*/triton.json")
        for state in (path for pattern in states for path in self.work.glob(pattern)):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found.append(int(json.loads(state.read_text())["supervisor"]))
        return found

    def sweep(self) -> dict[str, float]:
        """Find the best shape of the loop by hand; the photos of a trial are the first ones."""
        short = self.work / "short.txt"
        short.write_text("\n".join(self.list.read_text().split()[: self.given.sweep]))
        cores = len(os.sched_getaffinity(0))
        shapes = [(threads, batch, 1) for threads in {1, cores} for batch in (1, 4, 16)]
        shapes += [(threads, 16, 4) for threads in {1, cores}]
        trials: dict[tuple[int, int, int], float] = {}
        for shape in shapes:
            threads, batch, at_once = shape
            self.loop = {"threads": threads, "batch": batch, "at-once": at_once}
            told = self.told("torch", short)
            if self.is_equal(told["rows"]):
                trials[shape] = len(told["rows"]) / (told["ended"] - told["began"])
        threads, batch, at_once = max(trials, key=lambda shape: trials[shape])
        self.loop = {"threads": threads, "batch": batch, "at-once": at_once}
        return {"x".join(map(str, shape)): rate for shape, rate in trials.items()}

    def is_equal(self, rows: dict[str, Any]) -> bool:
        return all(self.expected[path] == row for path, row in rows.items())

    def check(self, way: str, rows: dict[str, Any]) -> None:
        if rows.keys() != self.expected.keys():
            raise SystemExit(f"{way}: {len(rows)} of {len(self.expected)} photos have a result")
        other = [path for path, row in rows.items() if row != self.expected[path]]
        if other:
            raise SystemExit(
                f"{way}: {len(other)} results differ from those one by one, {other[0]} for one: "
                f"{rows[other[0]]} instead of {self.expected[other[0]]}"
            )

    def way(self, way: str) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            if way in ("single", "bulk", "frames"):
                stack.enter_context(self.server())
            environment = {}
            if way == "data":
                cluster = stack.enter_context(PrivateCluster(self.work / "ray", 180))
                environment = cluster.environment
            watch = stack.enter_context(Watch(self.roots))
            told = self.told(way, self.list, environment)
        self.check(way, told["rows"])
        return self.figures(told["began"], told["ended"], watch)

    def figures(self, began: float, ended: float, watch: Watch) -> dict[str, Any]:
        images = self.given.images
        return {
            "images_per_second": images / (ended - began),
            "cpu_ms": watch.used(began, ended) / images * 1e3,
            "by_process": {
                name: round(seconds / images * 1e3, 2)
                for name, seconds in watch.by_process(began, ended).items()
                if seconds / images > 5e-5
            },
        }

    def told(
        self, way: str, photos: Path, environment: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Run a way in a process of its own."""
        interpreter = str(self.settings.triton_interpreter) if way == "torch" else sys.executable
        out = self.work / f"told-{time.monotonic_ns()}.json"
        command = [interpreter, str(_WAYS_FILE), way, "--photos", str(photos), "--out", str(out)]
        if way == "torch":
            for name, value in self.loop.items():
                command += [f"--{name}", str(value)]
        elif way == "data":
            command += ["--site", self.site_packages(), "--batch", "16"]
        else:
            command += ["--address", self.address(), "--threads", str(_FRAMES_IN_FLIGHT)]
            command += ["--batch", str(self.settings.bulk_images or 8)]
        variables = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
        subprocess.run(command, check=True, env=variables)
        told: dict[str, Any] = json.loads(out.read_text())
        return told

    def site_packages(self) -> str:
        ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        command = [str(self.settings.triton_interpreter), "-c", ask]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    def night(self, name: str) -> dict[str, Any]:
        """A planned night of a new home, recognised by the job."""
        self.nights += 1
        settings = load_settings(home=self.work / f"home-{self.nights}")
        night = recognise_archive(settings, self.work / name, self.roots)
        self.check("night", self.committed(settings, night.keys))
        figures = self.figures(night.began, night.ended, night.watch)
        forget(settings)
        return figures

    def committed(self, settings: Settings, keys: list[str]) -> dict[str, Any]:
        """What the shards' files hold, by path."""
        lake = open_lake(settings)
        rows: dict[str, Any] = {}
        for key in keys:
            record = lake.shard(key)
            assert record is not None
            images = pq.read_table(lake.storage.locate(record.images_path)).to_pylist()
            for image in images:
                rows[image["uri"].removeprefix("file://")] = [[], [], [], [], []]
            plates = pq.read_table(lake.storage.locate(record.recognitions_path)).to_pylist()
            for plate in sorted(plates, key=lambda row: (row["uri"], row["plate_index"])):
                boxes, texts, raw_texts, confidences, scores = rows[
                    plate["uri"].removeprefix("file://")
                ]
                boxes += [plate[side] for side in ("xmin", "ymin", "xmax", "ymax")]
                texts.append(plate["plate"])
                raw_texts.append(plate["raw_text"])
                confidences.append(plate["confidence"])
                scores.append(plate["detection_score"])
        return rows


def show(record: dict[str, Any]) -> None:
    """The tables of a run, on the terminal."""
    console = Console(width=120)
    for name, seen in record["sets"].items():
        grid = Grid(
            "way", "images/s", "from", "to", "CPU ms an image", title=f"{name}, loop {seen['loop']}"
        )
        for way, rounds in seen["rounds"].items():
            rates = [one["images_per_second"] for one in rounds]
            cpu = statistics.median(one["cpu_ms"] for one in rounds)
            cells = (statistics.median(rates), min(rates), max(rates), cpu)
            grid.add_row(way, *(f"{value:.1f}" for value in cells))
        console.print(grid)
        ratios = Grid("ratio of images/s", "median", "from", "to", "goal", "by CPU ms", title=name)
        for one, other, what, goal in RATIOS:
            if one in seen["rounds"] and other in seen["rounds"]:
                pairs = list(zip(seen["rounds"][one], seen["rounds"][other], strict=True))
                by_rate = [a["images_per_second"] / b["images_per_second"] for a, b in pairs]
                by_cpu = statistics.median(b["cpu_ms"] / a["cpu_ms"] for a, b in pairs)
                cells = (statistics.median(by_rate), min(by_rate), max(by_rate))
                ratios.add_row(what, *(f"{v:.2f}" for v in cells), goal, f"{by_cpu:.2f}")
        console.print(ratios)
    console.print(record["machine"])


if __name__ == "__main__":
    main()
