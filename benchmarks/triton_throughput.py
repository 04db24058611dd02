"""Images a second through the whole recogniser, by threads, instances and rows at once.

    python benchmarks/triton_throughput.py 2,1,2 2,2,2

Each argument is one server: threads of each model, instances of ``plate_recognition``, rows that
``stn`` and ``lprnet`` see at a time. The servers take turns on rendered streets of 1280x720 with
one to three plates, so that a change of the machine's load meets all of them. Figures are medians.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from platemill.render.street import draw_street, expose, new_car, place_cars
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings

IN_FLIGHT = 6
PLATES = ("A123BC77", "K904OT197", "M571EX50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", nargs="+", help="THREADS,INSTANCES,ROWS")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--images", type=int, default=36, help="images of a server in a round")
    arguments = parser.parse_args()
    settings = Settings(home=".")
    images = [street(seed) for seed in range(6)]
    seen: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {}
        for text in arguments.servers:
            threads, instances, rows = (int(part) for part in text.split(","))
            models = Path(folder) / text / "models"
            shutil.copytree(settings.models, models)
            configure(models, instances, rows)
            servers[text] = stack.enter_context(
                EmbeddedTriton.of(settings, models, models.parent / "work", threads=threads)
            )
        for _ in range(arguments.rounds):
            for text, server in servers.items():
                seen[text].append(measure(server, images, arguments.images))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("threads,instances,rows  images/s in flight  ms one at a time  CPU ms an image")
    for text, rows_seen in seen.items():
        rate, alone, cpu = (statistics.median(column) for column in zip(*rows_seen, strict=True))
        print(f"{text:>22}  {rate:>18.1f}  {alone:>16.1f}  {cpu:>15.1f}")


def street(seed: int) -> np.ndarray:
    """A daylight street with one to three plates."""
    rng = np.random.default_rng(seed)
    canvas = draw_street(rng)
    place_cars(canvas, [new_car(plate, rng) for plate in PLATES[: seed % 3 + 1]], rng)
    return expose(canvas, 13.0, rng)


def configure(models: Path, instances: int, rows: int) -> None:
    """Set the instances of plate_recognition and the rows of the two networks."""
    config = models / "plate_recognition" / "config.pbtxt"
    config.write_text(re.sub(r"count: \d+", f"count: {instances}", config.read_text()))
    for name in ("stn", "lprnet"):
        with (models / name / "config.pbtxt").open("a") as file:
            value = f'value {{ string_value: "{rows}" }}'
            file.write(f'parameters {{ key: "ROWS_AT_ONCE" {value} }}\n')


def measure(
    server: EmbeddedTriton, images: list[np.ndarray], count: int
) -> tuple[float, float, float]:
    """Images a second with six in flight, ms an image alone, CPU ms an image of the server."""
    work = [images[index % len(images)] for index in range(count)]
    with PlateClient(server.grpc, slots=IN_FLIGHT) as client, ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(client, images))  # slots are made, networks warm
        used = cpu_seconds(server)
        began = time.perf_counter()
        list(pool.map(client, work))
        flown = time.perf_counter()
        for image in images:
            client(image)
        ended = time.perf_counter()
        used = cpu_seconds(server) - used
    return (
        count / (flown - began),
        (ended - flown) / len(images) * 1e3,
        used / (count + len(images)) * 1e3,
    )


def cpu_seconds(server: EmbeddedTriton) -> float:
    """CPU time that the server and its stubs have used."""
    processes = psutil.Process(server.server.supervisor).children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    main()
