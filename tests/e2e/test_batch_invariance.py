"""The same photo gives the same boxes, texts and scores whatever else is on its way.

Equal means to the last bit, though a thousandth would do: then nothing has to be judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from streets import streets_of_many_sizes

from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.serving.reading import PlateReading

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

BATCHES = (1, 2, 7, 32)
ROWS = 64


class Crops:
    """Asks the models that take crops, over gRPC."""

    def __init__(self, server: EmbeddedTriton) -> None:
        import tritonclient.grpc as module

        self.module: Any = module
        self.client: Any = module.InferenceServerClient(server.grpc)

    def ask(self, model: str, array: np.ndarray) -> np.ndarray:
        given = self.module.InferInput("input__0", list(array.shape), "FP32")
        given.set_data_from_numpy(np.ascontiguousarray(array))
        return self.client.infer(model, [given]).as_numpy("output__0")

    def crops_of(self, image: np.ndarray) -> np.ndarray:
        given = self.module.InferInput("input__0", list(image.shape), "UINT8")
        given.set_data_from_numpy(image)
        return self.client.infer("yolo", [given]).as_numpy("output__0")


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return streets_of_many_sizes()


@pytest.fixture(scope="module")
def alone(triton: EmbeddedTriton, photos: list[np.ndarray]) -> list[PlateReading]:
    """What each photo gives while nothing else is on its way."""
    with PlateClient(triton.grpc, slots=1) as client:
        return [client(photo) for photo in photos]


@pytest.fixture(scope="module")
def models(triton: EmbeddedTriton) -> Iterator[Crops]:
    models = Crops(triton)
    yield models
    models.client.close()


@pytest.fixture(scope="module")
def crops(models: Crops, photos: list[np.ndarray]) -> np.ndarray:
    """64 rows: the plates of the photos, then noise."""
    found = np.concatenate([models.crops_of(photo) for photo in photos])
    assert len(found) >= 20
    noise = np.random.default_rng(5).uniform(-1, 1, (ROWS, *found.shape[1:])).astype(np.float32)
    return np.concatenate([found, noise])[:ROWS]


def test_the_photos_show_none_to_six_plates(alone: list[PlateReading]) -> None:
    assert {0, 1, 2, 3} <= {len(reading) for reading in alone}
    assert any(text for reading in alone for text in reading.texts)


@pytest.mark.parametrize("in_flight", BATCHES)
def test_a_photo_is_read_alike_however_many_are_in_flight(
    triton: EmbeddedTriton,
    photos: list[np.ndarray],
    alone: list[PlateReading],
    in_flight: int,
) -> None:
    order = np.random.default_rng(in_flight).permutation(np.arange(3 * len(photos)) % len(photos))
    with PlateClient(triton.grpc, slots=in_flight) as client, ThreadPoolExecutor(in_flight) as pool:
        together = list(pool.map(client, [photos[index] for index in order]))
    for index, reading in zip(order, together, strict=True):
        assert_same(reading, alone[index])


def assert_same(one: PlateReading, other: PlateReading) -> None:
    assert one.texts == other.texts
    assert one.raw_texts == other.raw_texts
    for field in ("boxes", "confidences", "detection_scores"):
        assert np.array_equal(getattr(one, field), getattr(other, field)), field


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model", ["stn", "lprnet"])
def test_a_crop_is_answered_alike_in_every_batch(
    models: Crops, crops: np.ndarray, model: str, batch: int
) -> None:
    expected = models.ask(model, crops[:32])
    order = np.random.default_rng(batch).permutation(32)
    mixed = crops[:32][order]
    parts = [models.ask(model, mixed[start : start + batch]) for start in range(0, 32, batch)]
    assert np.array_equal(np.concatenate(parts), expected[order])


@pytest.mark.parametrize("model", ["stn", "lprnet"])
def test_a_crop_is_answered_alike_whatever_triton_batches_it_with(
    models: Crops, crops: np.ndarray, model: str
) -> None:
    alone = np.concatenate([models.ask(model, crops[row : row + 1]) for row in range(ROWS)])
    rng = np.random.default_rng(9)
    chosen = [rng.choice(ROWS, size) for size in (1, 2, 3, 5, 7, 1, 12, 1, 32) * 6]
    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(lambda rows: models.ask(model, crops[rows]), chosen))
    for rows, answer in zip(chosen, answers, strict=True):
        assert np.array_equal(answer, alone[rows])
