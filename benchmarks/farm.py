"""A farm of servers that answer after a fixed delay: does one job keep all of them busy?

    .venv/bin/python benchmarks/farm.py --servers 1 2 4 8 --limit 50

Each server is a real Triton whose ``plate_bulk`` sleeps instead of recognising, so that it can do
``--limit`` images a second and costs no CPU. One job recognises rendered photos with as many
workers as servers: reading, hashing, requests, rows and commit are the real ones. What it reaches
is set against servers x limit, and against what the cores were busy with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from machine import machine
from photos import lay_out, rendered
from planned import forget, recognise_archive
from rich.console import Console
from rich.table import Table

from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings, load_settings

IMAGES_A_REQUEST = 8
INSTANCES = 2

SLEEPER = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(r) for r in requests]

    def answer(self, request):
        count = len(pb_utils.get_input_tensor_by_name(request, "images").as_numpy())
        time.sleep(count * SECONDS)
        none = np.empty((0, 1), np.object_)
        empty = np.empty((0, 1), np.float32)
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("plates", np.zeros(count, np.int32)),
            pb_utils.Tensor("sizes", np.full((count, 2), 720, np.int32)),
            pb_utils.Tensor("coordinates", np.empty((0, 4), np.float32)),
            pb_utils.Tensor("texts", none),
            pb_utils.Tensor("raw_texts", none),
            pb_utils.Tensor("confidences", empty),
            pb_utils.Tensor("detection_scores", empty),
        ])
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--limit", type=float, default=50.0, help="images/s of one server")
    parser.add_argument("--seconds", type=float, default=45.0, help="a run would take at best")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    work = (given.out / "farm").absolute()
    work.mkdir(parents=True, exist_ok=True)
    files = rendered("720p", 16)
    models = write_models(work / "models", INSTANCES / given.limit)
    settings = load_settings(home=work / "home")
    rows = []
    for count in given.servers:
        archive = work / "photos"
        images = len(lay_out(files, int(count * given.limit * given.seconds), archive))
        rounds = []
        for _ in range(given.rounds):
            with ExitStack() as stack:
                servers = [
                    stack.enter_context(server(settings, models, work / f"triton-{number}"))
                    for number in range(count)
                ]
                supervisors = [one.server.supervisor for one in servers]
                rounds.append(measure(work, archive, images, servers, supervisors))
        rows.append({"servers": count, "limit": count * given.limit, "rounds": rounds})
    record = {"machine": machine(settings.triton_interpreter), "farm": rows}
    path = given.out / f"farm-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps(record, indent=1))
    show(rows)
    print(path)


def write_models(folder: Path, seconds: float) -> Path:
    """The model that sleeps, and a ``plate_recognition`` that is there and is never asked."""
    for name in ("plate_bulk", "plate_recognition"):
        version = folder / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        config = (load_settings(home=folder).models / name / "config.pbtxt").read_text()
        (folder / name / "config.pbtxt").write_text(config)
        (version / "model.py").write_text(SLEEPER.replace("SECONDS", repr(seconds)))
    return folder


def server(settings: Settings, models: Path, workdir: Path) -> EmbeddedTriton:
    return EmbeddedTriton.of(settings, models, workdir)


def measure(
    work: Path,
    archive: Path,
    images: int,
    servers: list[EmbeddedTriton],
    supervisors: list[int],
) -> dict[str, Any]:
    settings = load_settings(
        home=work / "night",
        triton_address=",".join(one.grpc for one in servers),
        workers=len(servers),
        bulk_images=IMAGES_A_REQUEST,
    )
    night = recognise_archive(settings, archive, lambda: [os.getpid(), *supervisors])
    forget(settings)
    seconds = night.ended - night.began
    return {
        "images_per_second": images / seconds,
        "cores_busy": night.watch.used(night.began, night.ended) / seconds,
    }


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("servers", "their limit/s", "images/s", "of the limit", "cores busy")
    for row in rows:
        rate, busy = (
            statistics.median(one[name] for one in row["rounds"])
            for name in ("images_per_second", "cores_busy")
        )
        share = f"{rate / row['limit']:.0%}"
        limit = f"{row['limit']:.0f}"
        table.add_row(str(row["servers"]), limit, f"{rate:.1f}", share, f"{busy:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
