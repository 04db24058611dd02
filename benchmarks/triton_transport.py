"""What carrying a frame to Triton costs: system shared memory against plain tensors.

    python benchmarks/triton_transport.py

A real server on loopback with a model in the place of ``plate_recognition`` that looks at one pixel
and finds nothing, so that what is measured is the way there and back. The ways take turns within
every round; the figures are medians of the rounds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings

SIZES = ((1280, 720), (1920, 1080))
IN_FLIGHT = 6

MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(r) for r in requests]

    def answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "input__0").as_numpy()
        assert image[-1, -1, -1] == 7
        empty = np.empty((0, 1), np.float32)
        none = np.empty((0, 1), np.object_)
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("coordinates", np.empty((0, 4), np.float32)),
            pb_utils.Tensor("texts", none),
            pb_utils.Tensor("raw_texts", none),
            pb_utils.Tensor("confidences", empty),
            pb_utils.Tensor("detection_scores", empty),
        ])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=24, help="frames of a way in a round")
    arguments = parser.parse_args()
    settings = Settings(home=".")
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        version = models / "plate_recognition" / "1"
        version.mkdir(parents=True)
        config = (settings.models / "plate_recognition" / "config.pbtxt").read_text()
        (version.parent / "config.pbtxt").write_text(config)
        (version / "model.py").write_text(MODEL)
        with EmbeddedTriton.of(settings, models, Path(folder) / "work") as server:
            results = measure(server, arguments.rounds, arguments.frames)
    print(f"{'frame':>10} {'way':>14} {'one at a time':>14} {IN_FLIGHT:>2} in flight")
    for row in results:
        flying = "–" if row["in_flight_ms"] is None else f"{row['in_flight_ms']:.1f} ms"
        print(f"{row['frame']:>10} {row['way']:>14} {row['alone_ms']:>11.1f} ms {flying:>12}")
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()}
    print(json.dumps({"machine": machine, "ms_a_frame": results}))


def measure(server: EmbeddedTriton, rounds: int, frames: int) -> list[dict[str, object]]:
    """Median milliseconds a frame, for every size and way."""
    with (
        PlateClient(server.grpc, slots=IN_FLIGHT) as shared,
        PlateClient(server.grpc, slots=0) as plain,
        HttpClient(server.http) as http,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        ways: dict[str, Callable[[np.ndarray], object]]
        ways = {"shared memory": shared, "plain gRPC": plain, "plain HTTP": http}
        results: list[dict[str, object]] = []
        for width, height in SIZES:
            image = np.full((height, width, 3), 7, np.uint8)
            alone: dict[str, list[float]] = {way: [] for way in ways}
            flying: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(rounds + 1):
                for way, call in ways.items():
                    began = time.perf_counter()
                    for _ in range(frames):
                        call(image)
                    middle = time.perf_counter()
                    if way != "plain HTTP":  # its client is not thread-safe
                        list(pool.map(call, [image] * frames))
                    ended = time.perf_counter()
                    if turn:  # the first round warms up
                        alone[way].append((middle - began) / frames * 1e3)
                        flying[way].append((ended - middle) / frames * 1e3)
            results += [
                {
                    "frame": f"{width}x{height}",
                    "way": way,
                    "alone_ms": round(statistics.median(alone[way]), 2),
                    "in_flight_ms": round(statistics.median(flying[way]), 2)
                    if way != "plain HTTP"
                    else None,
                }
                for way in ways
            ]
    return results


class HttpClient:
    """The same call over HTTP, for comparison."""

    def __init__(self, address: str) -> None:
        import tritonclient.http as module

        self._module = module
        self._client = module.InferenceServerClient(address)

    def __call__(self, image: np.ndarray) -> object:
        given = self._module.InferInput("input__0", list(image.shape), "UINT8")
        given.set_data_from_numpy(image)
        return self._client.infer("plate_recognition", [given]).as_numpy("coordinates")

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_why: object) -> None:
        self._client.close()


if __name__ == "__main__":
    main()
