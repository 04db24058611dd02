"""A model that reads the first pixel, and the recognition of a plan's shards with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from platemill.archive.decode import decode_image
from platemill.archive.reader import ArchiveReader
from platemill.lake import Lake
from platemill.recognize.plan import Plan, Shard
from platemill.recognize.recogniser import recognise
from platemill.recognize.results import ImageResult


@dataclass
class Reading:
    """What a model answers: see ``PlateReading``."""

    boxes: np.ndarray
    texts: list[str]
    raw_texts: list[str]
    confidences: np.ndarray
    detection_scores: np.ndarray


def model(image: np.ndarray) -> Reading:
    """As many plates as the first pixel says, 0 to 2."""
    count = int(image[0, 0, 0]) % 3
    shares = np.full(count, 0.5, np.float32)
    texts = [f"A00{n}AA77" for n in range(count)]
    return Reading(np.ones((count, 4), np.float32), texts, texts, shares, shares)


def decode(data: bytes) -> np.ndarray:
    """A photo's pixels, of which there may be a million."""
    return decode_image(data, 10**6)


def recognise_shards(
    lake: Lake,
    plan: Plan,
    run_id: str,
    write: Callable[[Shard, Iterator[ImageResult]], object],
    *,
    now: Callable[[], datetime],
    decode: Callable[[bytes], np.ndarray] = decode,
) -> None:
    """Recognise the shards that have no record, one after the other.

    Args:
        lake: where the records are.
        plan: the run's plan.
        run_id: for the rows.
        write: takes a shard and its results, which are made as they are taken.
        now: the time with its zone, for the rows.
        decode: encoded bytes → pixels.
    """
    with ArchiveReader() as reader:
        for shard in plan.shards:
            if lake.shard(shard.key) is None:
                results = recognise(
                    plan.images(shard.key),
                    reader.read,
                    decode,
                    model,
                    in_flight=3,
                    run_id=run_id,
                    pipeline_version=plan.pipeline_version,
                    now=now,
                )
                write(shard, results)
