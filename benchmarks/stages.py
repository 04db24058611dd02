"""CPU milliseconds of one image by stage, each alone on one core: what two cores can do at best.

    .venv/bin/python benchmarks/stages.py --photos FOLDER

Read, hash, decode and rows run in the main environment, the rest in Triton's. Every figure is
CPU time of the one thread (``time.thread_time``), the median over rounds of the mean over the
photos, so another process on the same core costs cache, not minutes. The networks run with one
thread, as they are served. ``--photos`` adds a folder of JPEGs of one's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2

ROUNDS = 5
MODELS = Path(__file__).parents[1] / "model_repository"
DETECTOR_BATCHES = (1, 2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs of one's own")
    parser.add_argument("--count", type=int, default=24, help="different rendered photos of a size")
    parser.add_argument("--out", type=Path, help="folder that the record is written to, too")
    parser.add_argument("--networks", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.networks:
        print(json.dumps(measure_networks(sorted(arguments.networks.rglob("*.jpg")))))
        return
    from machine import machine
    from photos import SIZES, lay_out, own, rendered

    from platemill.settings import Settings

    interpreter = Settings(home=Path()).triton_interpreter
    record: dict[str, Any] = {"machine": machine(interpreter), "sets": {}}
    sets = {name: rendered(name, arguments.count) for name in SIZES}
    if arguments.photos:
        sets["own"] = own(arguments.photos)
    with tempfile.TemporaryDirectory() as folder:
        for name, files in sets.items():
            paths = lay_out(files, len(files), Path(folder) / name)
            told = subprocess.run(
                [str(interpreter), __file__, "--networks", str(Path(folder) / name)],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            )
            seen = measure_files(paths) | json.loads(told.stdout.splitlines()[-1])
            seen["mean_kib"] = sum(map(len, files)) / len(files) / 1024
            record["sets"][name] = seen
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / f"stages-{time.strftime('%Y%m%dT%H%M%S')}.json"
        path.write_text(json.dumps(record, indent=1))
    show(record)


def mean_ms(call: Callable[[Any], object], items: Iterable[Any]) -> float:
    """CPU milliseconds of one item, the median of a few rounds."""
    items = list(items)
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for item in items:
            call(item)
        rounds.append((time.thread_time() - began) / len(items) * 1e3)
    return statistics.median(rounds)


def measure_files(paths: list[Path]) -> dict[str, float]:
    """Read, hash, decode; and the rows of an image with one plate."""
    from platemill.archive.decode import decode_image
    from platemill.archive.headers import read_header
    from platemill.archive.reader import ArchiveReader
    from platemill.archive.uris import file_uri

    reader = ArchiveReader()
    files = [path.read_bytes() for path in paths]
    given = [(file_uri(str(path)), len(data)) for path, data in zip(paths, files, strict=True)]
    return {
        "read": mean_ms(lambda one: reader.read(one[0], None, one[1]), given),
        "hash": mean_ms(lambda data: hashlib.blake2b(data, digest_size=16).hexdigest(), files),
        "header": mean_ms(read_header, files),
        "decode": mean_ms(lambda data: decode_image(data, 10**9), files),
        "decode_half": mean_ms(lambda data: reduced(data, cv2.IMREAD_REDUCED_COLOR_2), files),
        "decode_grey": mean_ms(lambda data: reduced(data, cv2.IMREAD_GRAYSCALE), files),
        "rows": rows_ms(),
    }


def reduced(data: bytes, flag: int) -> object:
    import numpy as np

    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)


def rows_ms(shard: int = 128, repeats: int = 5) -> float:
    """Rows of a shard, each image with a plate, into two Parquet files and a record."""
    from datetime import UTC, date, datetime

    from platemill.lake import Lake
    from platemill.lake.storage import LocalStorage
    from platemill.recognize.plan import PlannedImage
    from platemill.recognize.results import ImageResult, Plate
    from platemill.recognize.shards import write_shard
    from platemill.schema import ImageStatus

    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    plate = Plate("A123BC77", "A123BC77", 0.97, 0.9, 10.0, 20.0, 120.0, 44.0)
    results = [
        ImageResult(
            PlannedImage(
                uri=f"file:///archive/camera-1/2026/05/04/{n:06d}.jpg",
                image_id=f"{n:032x}",
                camera_id="camera-1",
                captured_at=noon,
                day=date(2026, 5, 4),
                byte_size=200_000,
                time_source="path",
                modified_at=noon,
                rejected_reason=None,
                rejected_detail=None,
                offset=None,
                attempts=0,
            ),
            ImageStatus.RECOGNISED,
            None,
            None,
            None,
            1,
            1280,
            720,
            (plate,),
            "p1",
            "r1",
            noon,
        )
        for n in range(shard)
    ]
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(LocalStorage(Path(folder)))
        seen = []
        for number in range(repeats):
            began = time.process_time()
            write_shard(lake, f"{number:032x}", results)
            seen.append((time.process_time() - began) / shard * 1e3)
    return statistics.median(seen)


def measure_networks(paths: list[Path]) -> dict[str, Any]:
    """Letterbox, detector, selection, crops, STN, reader, decoding of texts: one thread."""
    import numpy as np
    import torch

    from platemill.serving.torchscript import Network
    from platemill.vision.confirm import confirmed
    from platemill.vision.crops import prepare_crops
    from platemill.vision.ctc import decode
    from platemill.vision.detector import prepare, select
    from platemill.vision.profile import BUILT_IN

    def network(name: str, file: str) -> Network:
        config = {"parameters": {"THREADS": {"string_value": "1"}}}
        return Network(
            MODELS / name / "1" / file, {"model_name": name, "model_config": json.dumps(config)}
        )

    detector, stn, reader = (
        network("yolo", "detector.pt"),
        *(network(name, "model.pt") for name in ("stn", "lprnet")),
    )
    crop = (3, BUILT_IN.crop.height, BUILT_IN.crop.width)
    logits = (BUILT_IN.reader.classes, BUILT_IN.reader.time_steps)
    for one in (stn, reader):
        one.find_sizes(crop)
    photos = [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]
    prepared = [prepare(photo) for photo in photos]
    for _ in range(2):
        answers = [detector(tensor) for tensor, _ in prepared]
    pairs = list(zip(answers, prepared, strict=True))
    chosen = [select(answer[0], box, BUILT_IN.detector.weakest) for answer, (_, box) in pairs]
    cut = [prepare_crops(photo, plates) for photo, plates in zip(photos, chosen, strict=True)]
    crops = np.concatenate(cut)
    straight = stn.rows(crops, crop)
    read = reader.rows(straight, logits)
    found = decode(read)
    scores = np.concatenate([plates.scores for plates in chosen])
    share = len(crops) / len(photos)
    seen: dict[str, Any] = {
        "letterbox": mean_ms(prepare, photos),
        "detector": mean_ms(lambda pair: detector(pair[0]), prepared),
        "select": mean_ms(
            lambda pair: select(pair[0][0], pair[1][1], BUILT_IN.detector.weakest), pairs
        ),
        "crops": mean_ms(lambda pair: prepare_crops(*pair), list(zip(photos, chosen, strict=True))),
        "stn": share * mean_ms(lambda _: stn.rows(crops, crop), [0]) / len(crops),
        "reader": share * mean_ms(lambda _: reader.rows(straight, logits), [0]) / len(crops),
        "texts": share * mean_ms(lambda _: decode(read), [0]) / len(crops),
        "candidates": share,
        "plates": float(confirmed(scores, found).sum()) / len(photos),
        "precision": {"detector": str(detector), "stn": str(stn), "reader": str(reader)},
        "torch": torch.__version__,
    }
    shape = max({tensor.shape for tensor, _ in prepared}, key=[t.shape for t, _ in prepared].count)
    same = [tensor for tensor, _ in prepared if tensor.shape == shape]
    one_by_one = np.concatenate([detector(tensor) for tensor in same])
    for size in DETECTOR_BATCHES:
        batches = [batch for batch in batched(same, size) if len(batch) == size]
        if not batches:
            continue
        detector(batches[0])
        detector(batches[0])
        cost = mean_ms(detector, batches) / size
        together = np.concatenate([detector(batch) for batch in batches])
        alike = np.array_equal(together, one_by_one[: len(together)])
        seen.setdefault("detector_batches", {})[size] = {"ms": cost, "same_bits": alike}
    return seen


def batched(tensors: list[Any], size: int) -> list[Any]:
    """Batches as the detector reads them: channels last in memory."""
    import numpy as np

    return [
        np.concatenate([t.transpose(0, 2, 3, 1) for t in tensors[start : start + size]]).transpose(
            0, 3, 1, 2
        )
        for start in range(0, len(tensors), size)
    ]


STAGES = (
    "read", "hash", "decode", "letterbox", "detector", "select", "crops", "stn", "reader", "texts",
    "rows",
)  # fmt: skip


def show(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", *record["sets"], title="CPU ms of one image, one thread")
    for stage in (*STAGES, "header", "decode_half", "decode_grey"):
        table.add_row(stage, *(f"{seen[stage]:.2f}" for seen in record["sets"].values()))
    sums = {name: sum(seen[s] for s in STAGES) for name, seen in record["sets"].items()}
    table.add_section()
    table.add_row("sum of the stages", *(f"{total:.2f}" for total in sums.values()))
    cores = record["machine"]["cores"]
    table.add_row(
        f"images/s of {cores} cores at best", *(f"{cores * 1e3 / t:.0f}" for t in sums.values())
    )
    for name in ("candidates", "plates", "mean_kib"):
        table.add_row(name, *(f"{seen[name]:.2f}" for seen in record["sets"].values()))
    for size in DETECTOR_BATCHES:
        table.add_row(
            f"detector, batches of {size}",
            *(
                f"{b['ms']:.2f}{'' if b['same_bits'] else ' (other bits)'}" if b else "–"
                for b in (
                    seen["detector_batches"].get(str(size)) for seen in record["sets"].values()
                )
            ),
        )
    console = Console(width=110)
    console.print(table)
    console.print(record["machine"])
    for name, seen in record["sets"].items():
        console.print(name, seen["precision"], seen["torch"])


if __name__ == "__main__":
    sys.exit(main())
