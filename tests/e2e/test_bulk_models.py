"""``plate_bulk`` of a real Triton answers for every image what ``plate_recognition`` does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from streets import streets_of_many_sizes

from platemill.archive.decode import decode_image
from platemill.serving.bulk import BulkClient, BulkReading
from platemill.serving.client import PlateClient
from platemill.serving.contracts import PLATE_BULK
from platemill.serving.embedded import EmbeddedTriton
from platemill.serving.reading import PlateReading
from platemill.settings import Settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

MOST = 100_000_000


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Photos of many sizes, as JPEG and, a few, in other forms."""
    photos = streets_of_many_sizes()
    packed = [cv2.imencode(".jpg", photo)[1].tobytes() for photo in photos]
    return [
        *packed,
        cv2.imencode(".png", photos[4])[1].tobytes(),
        cv2.imencode(".bmp", photos[8])[1].tobytes(),
        cv2.imencode(".png", np.full((1, 1, 3), 90, np.uint8))[1].tobytes(),
    ]


@pytest.fixture(scope="module")
def alone(triton: EmbeddedTriton, files: list[bytes]) -> list[PlateReading]:
    with PlateClient(triton.grpc, slots=1) as client:
        return [client(decode_image(file, MOST)) for file in files]


@pytest.fixture
def client(triton: EmbeddedTriton) -> Iterator[BulkClient]:
    with BulkClient(triton.grpc, max_pixels=MOST) as client:
        yield client


def assert_same(seen: BulkReading | None, file: bytes, alone: PlateReading) -> None:
    assert seen is not None
    pixels = decode_image(file, MOST)
    assert (seen.height, seen.width) == pixels.shape[:2]
    assert seen.reading.texts == alone.texts
    assert seen.reading.raw_texts == alone.raw_texts
    for field in ("boxes", "confidences", "detection_scores"):
        assert np.array_equal(getattr(seen.reading, field), getattr(alone, field)), field


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_an_image_is_read_in_bulk_as_alone(
    client: BulkClient, files: list[bytes], alone: list[PlateReading], batch: int
) -> None:
    order = np.random.default_rng(batch).permutation(np.arange(2 * len(files)) % len(files))
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda part: client([files[n] for n in part]), parts))
    assert any(len(reading) > 2 for reading in alone)
    for part, answer in zip(parts, answers, strict=True):
        for number, seen in zip(part, answer, strict=True):
            assert_same(seen, files[number], alone[number])


def test_an_image_that_is_none_troubles_nobody_else(
    client: BulkClient, files: list[bytes], alone: list[PlateReading]
) -> None:
    cut = files[4][: len(files[4]) // 2]
    first, *bad, last = client([files[4], b"", b"this is no image", cut, files[5]])
    assert bad == [None, None, None]
    assert_same(first, files[4], alone[4])
    assert_same(last, files[5], alone[5])
    assert client([b""]) == [None]


def test_an_image_that_claims_too_many_pixels_is_not_answered(
    triton: EmbeddedTriton, files: list[bytes], alone: list[PlateReading]
) -> None:
    with BulkClient(triton.grpc, max_pixels=1280 * 720) as client:
        street, full_hd = client(files[4:6])
    assert_same(street, files[4], alone[4])
    assert full_hd is None


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_ordinary_client_can_ask_too(
    triton: EmbeddedTriton, files: list[bytes], alone: list[PlateReading], protocol: str
) -> None:
    if protocol == "http":
        import tritonclient.http as module
    else:
        import tritonclient.grpc as module
    asked = files[2:8]
    client = module.InferenceServerClient(triton.http if protocol == "http" else triton.grpc)
    images = module.InferInput("images", [len(asked)], "BYTES")
    images.set_data_from_numpy(np.array(asked, np.object_))
    answer = client.infer(PLATE_BULK.name, [images])
    counts = [len(reading) for reading in alone[2:8]]
    assert answer.as_numpy("plates").tolist() == counts
    texts = [text.decode() for text in answer.as_numpy("texts")[:, 0]]
    assert texts == [text for reading in alone[2:8] for text in reading.texts]
    assert answer.as_numpy("coordinates").shape == (sum(counts), 4)
    client.close()


def test_with_more_threads_too_an_image_is_read_in_bulk_as_alone(
    files: list[bytes], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    few = files[:9]
    with (
        EmbeddedTriton.of(settings, settings.models, tmp_path / "triton", threads=2) as server,
        PlateClient(server.grpc, slots=1) as one,
        BulkClient(server.grpc, max_pixels=MOST) as many,
    ):
        for file, seen in zip(few, many(few), strict=True):
            assert_same(seen, file, one(decode_image(file, MOST)))
