"""Milliseconds of the networks, without a server: the detector a photo, STN and reader a plate.

    OMP_WAIT_POLICY=PASSIVE .venv-triton/bin/python benchmarks/models.py

Runs in Triton's environment, with the weights of the model repository, on a rendered JPEG of
1280x720. *Detector* is what a photo waits for until its plates are chosen: letterbox, network,
selection; the photo is decoded beforehand. *STN + reader* is a batch of 32 crops divided by 32.
Precisions and threads take turns, so that a change of the machine's load meets all of them. A
figure is the median of five rounds, and a round the fastest of three.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from platemill.render.street import draw_street, expose, new_car, place_cars
from platemill.serving.torchscript import Network
from platemill.vision.crops import prepare_crops
from platemill.vision.detector import Detections, prepare, select

MODELS = Path(__file__).parents[1] / "model_repository"
PLATES = ("A123BC77", "K904OT197", "M571EX50")
ROUNDS = 5
TRIES = 3
WARMING_RUNS = 4
ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="model repository")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    photo, crops = photo_and_crops()
    work: dict[tuple[str, int], dict[str, Callable[[], object]]] = {}
    for precision in arguments.precisions:
        for threads in arguments.threads:
            work[precision, threads] = parts(arguments.models, precision, threads, photo, crops)
    seen: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for (precision, threads), calls in work.items():
            torch.set_num_threads(threads)
            for part, call in calls.items():
                seen[precision, threads, part].append(fastest(call))
    print(f"{machine()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print(
        "| precision | threads | detector, ms a photo | network alone | STN + reader, ms a plate |"
    )
    print("|---|---|---|---|---|")
    for precision, threads in work:
        detector, network, reading = (
            statistics.median(seen[precision, threads, part])
            for part in ("detector", "network", "reading")
        )
        print(
            f"| {precision} | {threads} | {detector:.1f} | {network:.1f} | {reading / ROWS:.2f} |"
        )


def photo_and_crops() -> tuple[np.ndarray, np.ndarray]:
    """A street of 1280x720 as a JPEG gives it back, and 32 crops of its plates."""
    rng = np.random.default_rng(1)
    canvas = draw_street(rng)
    seen = place_cars(canvas, [new_car(plate, rng) for plate in PLATES], rng)
    _, jpeg = cv2.imencode(".jpg", expose(canvas, 13.0, rng), [cv2.IMWRITE_JPEG_QUALITY, 90])
    photo = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    boxes = np.array([one.box for one in seen], np.float32)
    crops = prepare_crops(photo, Detections.of_boxes(boxes))
    return photo, np.resize(crops, (ROWS, *crops.shape[1:]))


def parts(
    models: Path, precision: str, threads: int, photo: np.ndarray, crops: np.ndarray
) -> dict[str, Callable[[], object]]:
    """What is timed, warm. A file that cannot be converted is refused."""
    folders = {"yolo": "detector.pt", "stn": "model.pt", "lprnet": "model.pt"}
    networks = {
        name: Network(models / name / "1" / file, arguments_of(name, precision, threads))
        for name, file in folders.items()
    }
    for name in ("yolo", "lprnet"):  # the STN is always fp32
        if networks[name].precision != precision:
            raise SystemExit(f"{name} in {models} cannot be run in {precision}: export it again")

    def detect() -> object:
        tensor, letterbox = prepare(photo)
        return select(networks["yolo"](tensor)[0], letterbox)

    def read() -> object:
        return networks["lprnet"](networks["stn"](crops))

    tensor, _ = prepare(photo)
    calls = {"detector": detect, "network": lambda: networks["yolo"](tensor), "reading": read}
    for call in calls.values():
        for _ in range(WARMING_RUNS):
            call()
    return calls


def arguments_of(name: str, precision: str, threads: int) -> dict[str, str]:
    """What Triton would hand to the model."""
    given = {"PRECISION": precision, "THREADS": str(threads)}
    parameters = {key: {"string_value": value} for key, value in given.items()}
    return {"model_name": name, "model_config": json.dumps({"parameters": parameters})}


def fastest(call: Callable[[], object]) -> float:
    """Milliseconds of the fastest of a few calls."""
    milliseconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call()
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return min(milliseconds)


def machine() -> str:
    """The processor's name and the cores that may be used."""
    name = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()
