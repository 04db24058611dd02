"""The ways of recognising photos that ``benchmarks/night.py`` sets side by side, one a process.

    python benchmarks/ways.py WAY --photos LIST --out FILE [...]

``LIST`` names a photo a line. The answer is a JSON file: when the measured part began and ended,
in seconds since 1970, and what each photo gave. Starts, loading and warming up are not measured.

- ``torch``: a loop written by hand in one process, the networks called directly. In Triton's
  environment. ``--threads`` loops run side by side in threads of one process, each with its part of
  the cores for torch; they take batches of ``--batch`` photos, decode, detect ``--at-once`` images
  in a call, and read all plates of the batch together.
- ``single``: one synchronous ``tritonclient`` loop over ``plate_recognition``, raw frames by gRPC.
- ``frames``: ``PlateClient``, frames in shared memory, ``--threads`` in flight.
- ``bulk``: ``BulkClient`` over ``plate_bulk``, encoded photos, no Ray.
- ``data``: Ray Data, ``map_batches`` with the networks in as many actors as there are cores, into
  Parquet.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import site
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

MODELS = Path(__file__).parents[1] / "model_repository"
CORES = len(os.sched_getaffinity(0))
MAX_PIXELS = 10**9
Rows = dict[str, list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--address", help="gRPC address of the server")
    parser.add_argument("--site", help="site-packages that hold torch, for `data`")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=1)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    paths = given.photos.read_text().split()
    began, ended, rows = WAYS[given.way](paths, given)
    given.out.write_text(json.dumps({"began": began, "ended": ended, "rows": rows}))


def row_of(reading: Any) -> list[Any]:
    """A reading as numbers and texts that JSON keeps to the last bit."""
    return [
        [float(value) for value in reading.boxes.ravel()],
        list(reading.texts),
        list(reading.raw_texts),
        [float(value) for value in reading.confidences],
        [float(value) for value in reading.detection_scores],
    ]


def open_here(threads: int, at_once: int) -> Any:
    """The three networks in this process. ``at_once``: images of a call of the detector."""
    from platemill.serving.networks import open_pipeline

    os.environ["MODEL_THREADS"] = str(threads)
    pipeline, _ = open_pipeline(MODELS, {"model_name": "loop", "model_instance_kind": "CPU"})
    detect = pipeline._detect

    def in_parts(batch: np.ndarray) -> np.ndarray:
        starts = range(0, len(batch), at_once)
        return np.concatenate([detect(batch[start : start + at_once]) for start in starts])

    pipeline._detect = in_parts
    return pipeline


def torch_loop(paths: Sequence[str], given: argparse.Namespace) -> tuple[float, float, Rows]:
    each = max(1, CORES // given.threads)
    pipeline = open_here(each, given.at_once)
    batches: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
    rows: Rows = {}

    def work() -> None:
        # A single loop decodes a batch while the one before it is at the networks.
        with ThreadPoolExecutor(1) as ahead:
            decoded = ahead.submit(take)
            while (taken := decoded.result()) is not None:
                if given.threads == 1:
                    decoded = ahead.submit(take)
                readings = pipeline(taken[1])
                rows.update(zip(taken[0], map(row_of, readings), strict=True))
                if given.threads > 1:
                    decoded = ahead.submit(take)

    def take() -> tuple[Sequence[str], list[np.ndarray]] | None:
        try:
            part = batches.get_nowait()
        except queue.Empty:
            return None
        files = [np.frombuffer(Path(path).read_bytes(), np.uint8) for path in part]
        return part, [np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR)) for file in files]

    def run(some: Sequence[str]) -> None:
        for start in range(0, len(some), given.batch):
            batches.put(some[start : start + given.batch])
        workers = [threading.Thread(target=work) for _ in range(given.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    run(paths[: 4 * given.batch * given.threads])
    rows.clear()
    began = time.time()
    run(paths)
    return began, time.time(), rows


def single_loop(paths: Sequence[str], given: argparse.Namespace) -> tuple[float, float, Rows]:
    from tritonclient.grpc import InferenceServerClient, InferInput

    from platemill.serving.reading import PlateReading

    client = InferenceServerClient(
        given.address,
        channel_args=[
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ],
    )

    def ask(path: str) -> list[Any]:
        image = cv2.imread(path)
        tensor = InferInput("input__0", list(image.shape), "UINT8")
        tensor.set_data_from_numpy(image)
        answer = client.infer("plate_recognition", [tensor])
        return row_of(
            PlateReading(
                answer.as_numpy("coordinates"),
                [text.decode() for text in answer.as_numpy("texts")[:, 0]],
                [text.decode() for text in answer.as_numpy("raw_texts")[:, 0]],
                answer.as_numpy("confidences")[:, 0],
                answer.as_numpy("detection_scores")[:, 0],
            )
        )

    for path in paths[:4]:
        ask(path)
    began = time.time()
    rows = {path: ask(path) for path in paths}
    return began, time.time(), rows


def frames_loop(paths: Sequence[str], given: argparse.Namespace) -> tuple[float, float, Rows]:
    from platemill.serving.client import PlateClient

    with (
        PlateClient(given.address, slots=given.threads) as client,
        ThreadPoolExecutor(given.threads) as pool,
    ):

        def ask(path: str) -> list[Any]:
            return row_of(client(np.asarray(cv2.imread(path))))

        list(pool.map(ask, paths[: 2 * given.threads]))
        began = time.time()
        rows = dict(zip(paths, pool.map(ask, paths), strict=True))
        return began, time.time(), rows


def bulk_loop(paths: Sequence[str], given: argparse.Namespace) -> tuple[float, float, Rows]:
    from platemill.serving.bulk import BulkClient

    with (
        BulkClient(given.address, max_pixels=MAX_PIXELS) as client,
        ThreadPoolExecutor(4 * CORES) as pool,
    ):

        def ask(part: Sequence[str]) -> list[list[Any]]:
            found = client([Path(path).read_bytes() for path in part])
            return [[] if one is None else row_of(one.reading) for one in found]

        parts = [paths[start : start + given.batch] for start in range(0, len(paths), given.batch)]
        list(pool.map(ask, parts[: 2 * CORES]))
        began = time.time()
        found = list(pool.map(ask, parts))
        ended = time.time()
    return began, ended, dict(zip(paths, chain.from_iterable(found), strict=True))


class Actor:
    """What Ray Data's actors hold: the networks, with one core each."""

    def __init__(self, site_packages: str, stamps: str) -> None:
        site.addsitedir(site_packages)
        cv2.setNumThreads(1)
        self.pipeline = open_here(1, 1)
        (Path(stamps) / f"{os.getpid()}").write_text(str(time.time()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        files = [np.frombuffer(data, np.uint8) for data in batch["bytes"]]
        images = [np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR)) for file in files]
        rows = [json.dumps(row_of(reading)) for reading in self.pipeline(images)]
        return {"path": batch["path"], "row": np.array(rows)}


def data_loop(paths: Sequence[str], given: argparse.Namespace) -> tuple[float, float, Rows]:
    import pyarrow.parquet as pq
    import ray

    ray.init(log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    stamps, out = given.out.with_suffix(".stamps"), given.out.with_suffix(".rows")
    stamps.mkdir()
    ray.data.read_binary_files(list(paths), include_paths=True).map_batches(
        Actor,
        fn_constructor_args=(given.site, str(stamps)),
        batch_size=given.batch,
        compute=ray.data.ActorPoolStrategy(size=CORES),
        num_cpus=1,
    ).write_parquet(str(out))
    ended = time.time()
    # The actors are there from then on; what was read before is not counted.
    began = max(float(path.read_text()) for path in stamps.iterdir())
    table = pq.read_table(out)
    found = zip(table["path"].to_pylist(), table["row"].to_pylist(), strict=True)
    ray.shutdown()
    return began, ended, {"/" + path.lstrip("/"): json.loads(row) for path, row in found}


WAYS = {
    "torch": torch_loop,
    "single": single_loop,
    "frames": frames_loop,
    "bulk": bulk_loop,
    "data": data_loop,
}

if __name__ == "__main__":
    main()
