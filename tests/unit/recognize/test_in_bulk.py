"""Many images at once: the same results in the same order, whatever the bulk model does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numbered_images import NOW, image_of, read_number
from small_recogniser import Reading

from platemill.errors import ImageRejected, InferenceFailed, ServerUnavailable
from platemill.recognize import in_bulk
from platemill.recognize.in_bulk import recognise_in_bulk
from platemill.recognize.plan import PlannedImage
from platemill.recognize.recogniser import OneByOne, recognise
from platemill.recognize.results import ImageResult


def decode(data: bytes) -> np.ndarray:
    number = int(data)
    if number % 10 == 7:
        raise ImageRejected("truncated", "ends early")
    return np.full((2, 3, 3), number % 256, np.uint8)


def reading_of(number: int) -> Reading:
    count = number % 3
    return Reading(
        boxes=np.full((count, 4), number, np.float32),
        texts=[f"A{number:03d}AA77"] * count,
        raw_texts=[f"{number}"] * count,
        confidences=np.full(count, 0.5, np.float32),
        detection_scores=np.full(count, 0.75, np.float32),
    )


def alone(pixels: np.ndarray) -> Reading:
    return reading_of(int(pixels[0, 0, 0]))


@dataclass
class Seen:
    width: int
    height: int
    reading: Reading


@dataclass
class Bulk:
    """Answers for every number but those that end in 7, and notes what it was asked."""

    requests: int = 3
    fails: bool = False
    error: Exception | None = None
    nonsense: frozenset[int] = frozenset()
    asked: list[int] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    wait: float = 0.0

    def __call__(self, images: Sequence[bytes]) -> list[Seen | None]:
        with self.lock:
            self.asked.append(len(images))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.wait)
        with self.lock:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        if self.fails:
            raise InferenceFailed("the model is broken")
        return [self.answer(int(data)) for data in images]

    def answer(self, number: int) -> Seen | None:
        if number % 10 == 7:
            return None
        reading = reading_of(number)
        if number in self.nonsense:
            reading = Reading(
                reading.boxes, [], reading.raw_texts, reading.confidences, reading.confidences
            )
        return Seen(3, 2, reading)


def one_by_one(model: object = alone) -> OneByOne:
    return OneByOne(read_number, decode, model, "r1", "p1", lambda: NOW)  # type: ignore[arg-type]


def run(
    images: Iterable[PlannedImage], bulk: Bulk, batch: int = 4, in_flight: int = 16
) -> Iterator[ImageResult]:
    return recognise_in_bulk(images, bulk, one_by_one(), batch=batch, in_flight=in_flight)  # type: ignore[arg-type]


def expected(images: Iterable[PlannedImage]) -> list[ImageResult]:
    return list(
        recognise(
            images,
            read_number,
            decode,
            alone,  # type: ignore[arg-type]
            in_flight=1,
            run_id="r1",
            pipeline_version="p1",
            now=lambda: NOW,
        )
    )


MIXED = [
    *map(image_of, range(30)),
    image_of(31, image_id="0" * 32),
    image_of(32, rejected_reason="vanished", rejected_detail="it is not there"),
    *map(image_of, range(40, 61)),
]


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
@pytest.mark.parametrize("bulk", [Bulk(), Bulk(fails=True), Bulk(nonsense=frozenset(range(9)))])
def test_the_results_are_those_of_one_by_one_in_order(bulk: Bulk, batch: int) -> None:
    assert list(run(MIXED, bulk, batch)) == expected(MIXED)


def test_images_that_are_known_to_be_bad_are_not_sent() -> None:
    bulk = Bulk()
    list(run(MIXED, bulk))
    assert sum(bulk.asked) == len(MIXED) - 2
    assert max(bulk.asked) == 4


def test_a_server_that_is_gone_is_no_image_s_fault() -> None:
    with pytest.raises(ServerUnavailable):
        list(run(MIXED, Bulk(error=ServerUnavailable("gone"))))


def test_no_more_requests_are_on_their_way_than_the_model_wants() -> None:
    bulk = Bulk(requests=2, wait=0.01)
    list(run(MIXED, bulk, batch=2, in_flight=40))
    assert bulk.most_at_once == 2


@pytest.mark.parametrize(("batch", "in_flight"), [(4, 8), (4, 9), (8, 4), (1, 1)])
def test_images_are_not_asked_for_before_there_is_room(batch: int, in_flight: int) -> None:
    taken = 0

    def lazily() -> Iterator[PlannedImage]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield image_of(number)

    results = run(lazily(), Bulk(requests=100), batch, in_flight)
    for given, _ in enumerate(results, 1):
        # A batch's results come together; those that were not taken are not held any more.
        assert taken <= given + in_flight + batch


def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_bulk, "_BATCH_BYTES", 4)
    monkeypatch.setattr(in_bulk, "_HELD_BYTES", 8)
    bulk = Bulk(requests=100, wait=0.01)
    images = [image_of(number) for number in range(10, 40)]
    assert list(run(images, bulk, batch=100, in_flight=1000)) == expected(images)
    assert max(bulk.asked) == 2
    assert bulk.most_at_once <= 2


def test_no_images() -> None:
    assert list(run([], Bulk())) == []
