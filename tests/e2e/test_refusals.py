"""What is no upright Russian plate is found at most, and never read as one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from streets import street_with

from platemill.render.plate import random_text
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

PHOTOS = 12


@pytest.fixture(scope="module")
def streets() -> list[tuple[np.ndarray, list[str]]]:
    rng = np.random.default_rng(41)
    texts = [[random_text(rng) for _ in range(3)] for _ in range(PHOTOS)]
    return [(street_with(plates, seed=60 + n)[0], plates) for n, plates in enumerate(texts)]


def published(
    triton: EmbeddedTriton,
    streets: list[tuple[np.ndarray, list[str]]],
    turn: Callable[[np.ndarray], np.ndarray],
) -> list[str]:
    with PlateClient(triton.grpc, slots=1) as client:
        answers = [client(np.ascontiguousarray(turn(photo))) for photo, _ in streets]
    return [text for answer in answers for text in answer.texts if text]


def test_upright_plates_are_read(
    triton: EmbeddedTriton, streets: list[tuple[np.ndarray, list[str]]]
) -> None:
    wanted = {text for _, plates in streets for text in plates}
    read = set(published(triton, streets, lambda photo: photo))
    assert len(wanted & read) >= 0.9 * len(wanted)


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(lambda photo: photo[::-1, ::-1], id="upside down"),
        pytest.param(lambda photo: photo[:, ::-1], id="mirrored"),
        pytest.param(lambda photo: photo[::-1], id="mirrored in a puddle"),
    ],
)
def test_turned_plates_are_not_hallucinated(
    triton: EmbeddedTriton,
    streets: list[tuple[np.ndarray, list[str]]],
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    assert published(triton, streets, turn) == []
