"""Ray Core actors or Ray Data for recognition? The same reader, decoder and model under both.

``python benchmarks/ray_core_vs_data.py --images 600`` renders photos, starts one private cluster
and runs, in turn: a plain loop, Ray Core actors with shards handed out two at a time, and Ray Data
with an actor pool; then the last two again while one of their actors is killed half-way. The model
is a stand-in that costs what waiting for a server costs (``--model-ms``, without the lock). One
JSON line a run: seconds from the start of the driver, images a second between the first and the
last row, peak memory of all processes of Ray above what they take at rest, rows lost and doubled.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.archive.decode import decode_image
from platemill.archive.reader import ArchiveReader
from platemill.archive.uris import file_uri
from platemill.launch.clusters.private import PrivateCluster

ACTORS = 2
IN_FLIGHT = 6
SHARD = 32
MAX_PIXELS = 100_000_000


def render(folder: Path, count: int) -> None:
    """Photos of 1280x720, as large as a camera's: noise over shapes, JPEG quality 85."""
    random = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        small = random.integers(0, 255, (18, 32, 3), dtype=np.uint8)
        image = cv2.resize(small, (1280, 720), interpolation=cv2.INTER_CUBIC)
        noise = random.integers(0, 24, image.shape, dtype=np.uint8)
        path = folder / f"{number:05d}.jpg"
        cv2.imwrite(str(path), cv2.add(image, noise), [cv2.IMWRITE_JPEG_QUALITY, 85])


class Recogniser:
    """What both engines run: read, decode, a model; some images at once."""

    def __init__(self, folder: str, model_ms: float) -> None:
        cv2.setNumThreads(1)
        pa.set_cpu_count(1)
        self.folder = Path(folder)
        self.seconds = model_ms / 1000
        self.reader = ArchiveReader()
        self.threads = concurrent.futures.ThreadPoolExecutor(IN_FLIGHT)
        (self.folder / "pids").mkdir(exist_ok=True)
        (self.folder / "pids" / str(os.getpid())).touch()

    def one(self, uri: str, size: int) -> tuple[str, float, float]:
        image = decode_image(self.reader.read(uri, None, size), MAX_PIXELS)
        value = float(cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA).mean())
        time.sleep(self.seconds)
        return uri, value, time.time()

    def rows(self, uris: list[str], sizes: list[int]) -> pa.Table:
        found = list(self.threads.map(self.one, uris, sizes))
        return pa.table(dict(zip(("uri", "value", "at"), zip(*found, strict=True), strict=True)))

    def shard(self, key: str, uris: list[str], sizes: list[int]) -> str:
        """Ray Core: one shard to one file, under a name of the attempt and then its own."""
        partial = self.folder / f".{key}.{os.getpid()}"
        pq.write_table(self.rows(uris, sizes), partial)
        (self.folder / "rows").mkdir(exist_ok=True)
        partial.rename(self.folder / "rows" / f"{key}.parquet")
        return key

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Ray Data: one batch."""
        return self.rows(batch["uri"].to_pylist(), batch["size"].to_pylist())


def listed(photos: Path) -> tuple[list[str], list[int]]:
    paths = sorted(photos.glob("*.jpg"))
    return [file_uri(str(path)) for path in paths], [path.stat().st_size for path in paths]


def run_loop(photos: Path, folder: Path, model_ms: float) -> None:
    Recogniser(str(folder), model_ms).shard("all", *listed(photos))


def run_core(photos: Path, folder: Path, model_ms: float) -> None:
    import ray
    from ray.exceptions import RayActorError

    ray.init(log_to_driver=False, logging_level="ERROR")
    uris, sizes = listed(photos)
    waiting = [
        (f"{start:06d}", uris[start : start + SHARD], sizes[start : start + SHARD])
        for start in range(0, len(uris), SHARD)
    ]

    def hire() -> Any:
        actor = ray.remote(Recogniser).options(num_cpus=1, max_concurrency=2)
        return actor.remote(str(folder), model_ms)

    running: dict[Any, tuple[Any, Any]] = {}

    def give(actor: Any) -> None:
        while waiting and sum(other is actor for other, _ in running.values()) < 2:
            shard = waiting.pop(0)
            running[actor.shard.remote(*shard)] = (actor, shard)

    for _ in range(ACTORS):
        give(hire())
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        actor, shard = running.pop(done)
        try:
            ray.get(done)
        except RayActorError:
            waiting.append(shard)
            for reference in [r for r, (other, _) in running.items() if other is actor]:
                waiting.append(running.pop(reference)[1])
            actor = hire()
        give(actor)
    ray.shutdown()


def run_data(photos: Path, folder: Path, model_ms: float) -> None:
    import ray

    ray.init(log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    uris, sizes = listed(photos)
    plan = ray.data.from_arrow(pa.table({"uri": uris, "size": sizes}))
    plan = plan.repartition(max(1, len(uris) // SHARD))
    plan.map_batches(
        Recogniser,
        fn_constructor_args=(str(folder), model_ms),
        batch_format="pyarrow",
        batch_size=SHARD,
        compute=ray.data.ActorPoolStrategy(size=ACTORS, max_tasks_in_flight_per_actor=2),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=-1,
    ).write_parquet(str(folder / "rows"))
    ray.shutdown()


ENGINES = {"loop": run_loop, "core": run_core, "data": run_data}


class Memory:
    """Peak of the proportional memory of a process family, sampled."""

    def __init__(self, root: int) -> None:
        self.root = psutil.Process(root)
        self.peak = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def now(self) -> int:
        total = 0
        for process in [*self.root.children(recursive=True), *CHILDREN]:
            with contextlib.suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss
        return total

    def sample(self) -> None:
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, self.now())

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        self.thread.start()
        yield
        self.ended.set()
        self.thread.join()


CHILDREN: list[psutil.Process] = []


def measure(
    engine: str, kill: bool, given: argparse.Namespace, cluster: PrivateCluster, folder: Path
) -> dict[str, Any]:
    folder.mkdir()
    assert cluster.keeper_pid is not None
    command = [sys.executable, __file__, "--engine", engine, "--photos", str(given.photos)]
    command += ["--folder", str(folder), "--model-ms", str(given.model_ms)]
    memory = Memory(cluster.keeper_pid)
    rest = memory.now()
    start = time.time()
    environment = {**os.environ, **cluster.environment}
    process = subprocess.Popen(command, env=environment)
    CHILDREN[:] = [psutil.Process(process.pid)]
    with memory.measured():
        if kill:
            wait_for_rows(folder / "rows", given.images // SHARD // 2, process)
            victim = int(min((folder / "pids").iterdir(), key=lambda p: p.stat().st_mtime).name)
            os.kill(victim, signal.SIGKILL)
        code = process.wait(given.limit)
    seconds = time.time() - start
    if code:
        raise SystemExit(f"{engine} ended with {code}")
    rows = [row for path in (folder / "rows").glob("*.parquet") for row in read(path)]
    counts = Counter(uri for uri, _ in rows)
    times = sorted(at for _, at in rows)
    return {
        "engine": engine,
        "killed": kill,
        "seconds": round(seconds, 1),
        "images_per_second": round(len(times) / (times[-1] - times[0]), 1),
        "seconds_to_first_row": round(times[0] - start, 1),
        "peak_mib_above_rest": (memory.peak - rest) >> 20,
        "lost": given.images - len(counts),
        "doubled": sum(count - 1 for count in counts.values()),
    }


def read(path: Path) -> list[tuple[str, float]]:
    table = pq.ParquetFile(path).read(["uri", "at"])
    return list(zip(table["uri"].to_pylist(), table["at"].to_pylist(), strict=True))


def wait_for_rows(folder: Path, files: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and len(list(folder.glob("*.parquet"))) < files:
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--model-ms", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds a run may take")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.engine:
        ENGINES[given.engine](given.photos, given.folder, given.model_ms)
        return
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        given.photos = work / "photos"
        render(given.photos, given.images)
        megabytes = sum(p.stat().st_size for p in given.photos.iterdir()) / 1e6
        machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        print(json.dumps({"images": given.images, "megabytes": round(megabytes), "on": machine}))
        with PrivateCluster(work / "ray", 180, num_cpus=8) as cluster:
            runs = [(engine, False) for engine in ENGINES] * given.repeats
            for number, (engine, kill) in enumerate([*runs, ("core", True), ("data", True)]):
                result = measure(engine, kill, given, cluster, work / f"{number}")
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
