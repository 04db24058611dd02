"""What this machine recognises fastest with: a sweep over instances and images a request.

Every choice gets a server of its own, and the choices take turns on the same photos. What is
recommended is the overlay of the fastest choice; of two that cannot be told apart, the smaller one.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from platemill.render.plate import random_text
from platemill.render.street import draw_street, expose, new_car, place_cars
from platemill.serving.bulk import BulkClient
from platemill.serving.contracts import PLATE_BULK
from platemill.serving.embedded import EmbeddedTriton
from platemill.serving.overlay import with_instances
from platemill.serving.repository import repository_of
from platemill.serving.window import MOST_REQUESTS
from platemill.settings import Settings

__all__ = [
    "Choice",
    "Trial",
    "overlay_text",
    "recommended",
    "street_photos",
    "sweep",
    "write_overlay",
]

_ALIKE: Final = 0.02
_QUALITY: Final = 88


@dataclass(frozen=True, order=True)
class Choice:
    """Instances of ``plate_bulk`` and images of a request."""

    instances: int
    images: int


@dataclass(frozen=True)
class Trial:
    """Images a second of a choice, round by round, and the requests that its queue led to."""

    choice: Choice
    rates: tuple[float, ...]
    requests: int

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


def street_photos(count: int) -> list[bytes]:
    """So many rendered streets of 1280x720 as JPEG, none to three plates each."""
    photos = []
    for number in range(count):
        rng = np.random.default_rng([17, number])
        canvas = draw_street(rng)
        cars = [new_car(random_text(rng), rng) for _ in range(number % 4)]
        place_cars(canvas, cars, rng)
        packed = cv2.imencode(
            ".jpg", expose(canvas, 13.0, rng), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )[1]
        photos.append(packed.tobytes())
    return photos


def sweep(
    settings: Settings,
    photos: Sequence[bytes],
    instances: Sequence[int],
    images: Sequence[int],
    *,
    rounds: int,
    count: int,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Try every choice; one server at a time, so that none takes memory from another.

    Args:
        settings: the deployment's settings; their overlay is left out.
        photos: encoded, sent in turn.
        instances: of ``plate_bulk``.
        images: of a request.
        rounds: of each choice.
        count: photos of a round.
        tell: told what is being done.
    """
    trials = []
    plain = settings.model_copy(update={"triton_overlay": settings.home / "no-overlay"})
    for number in instances:
        tell(f"starting Triton with {number} instances of {PLATE_BULK.name}")
        with _server(plain, number) as address:
            with BulkClient(address, max_pixels=settings.max_image_pixels) as client:
                for _ in range(2):
                    _measure(client, photos, max(images), max(images) * number * 2)
            seen: dict[int, list[float]] = {size: [] for size in images}
            requests: dict[int, int] = {}
            for _ in range(rounds):
                for size in images:
                    with BulkClient(address, max_pixels=settings.max_image_pixels) as client:
                        seen[size].append(_measure(client, photos, size, count))
                        requests[size] = client.requests - 1
            for size in images:
                trials.append(Trial(Choice(number, size), tuple(seen[size]), requests[size]))
                tell(f"{number} instances, {size} images a request: {trials[-1].rate:.1f} images/s")
    return trials


@contextlib.contextmanager
def _server(settings: Settings, instances: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="platemill-tune-") as folder:
        models = with_instances(
            repository_of(settings), PLATE_BULK.name, instances, Path(folder) / "models"
        )
        with EmbeddedTriton.of(settings, models, Path(folder) / "triton") as server:
            yield server.grpc


def _measure(client: BulkClient, photos: Sequence[bytes], size: int, count: int) -> float:
    """Images a second."""
    chosen = [photos[number % len(photos)] for number in range(count)]
    parts = [chosen[start : start + size] for start in range(0, count, size)]
    with ThreadPoolExecutor(min(MOST_REQUESTS, len(parts))) as pool:
        began = time.perf_counter()
        for _ in pool.map(client, parts):
            pass
        return count / (time.perf_counter() - began)


def recommended(trials: Sequence[Trial]) -> Choice:
    """The fastest choice, or the smallest of those that are as fast."""
    best = max(trial.rate for trial in trials)
    return min(trial.choice for trial in trials if trial.rate >= (1 - _ALIKE) * best)


def _instances(count: int) -> str:
    return f"instance_group [ {{ kind: KIND_AUTO count: {count} }} ]\n"


def overlay_text(choice: Choice, trials: Sequence[Trial]) -> str:
    """The config that is laid over ``plate_bulk``'s, with the figures that led to it."""
    lines = ["# Written by `platemill tune`. Instances, images a request: images a second."]
    lines += [f"# {t.choice.instances}, {t.choice.images}: {t.rate:.1f}" for t in trials]
    value = f'value {{ string_value: "{choice.images}" }}'
    parameters = f'parameters {{ key: "IMAGES_A_REQUEST" {value} }}\n'
    return "\n".join(lines) + "\n" + _instances(choice.instances) + parameters


def write_overlay(settings: Settings, text: str) -> Path:
    """Lay it over ``plate_bulk``; returns the file."""
    path = settings.overlay / PLATE_BULK.name / "config.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    shutil.move(partial, path)
    return path
