"""The temperature of confidences, on logits whose right temperature is known."""

import numpy as np
import pytest

from platemill.training.calibration import calibration, likeliest_temperature
from platemill.vision.ctc import CLASSES, greedy, log_softmax


def drawn(rows: int) -> tuple[np.ndarray, list[str]]:
    """Logits, and texts drawn with just the probabilities that they give."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (rows, CLASSES, 6))
    noise = rng.gumbel(size=logits.shape)
    return logits.astype(np.float32), greedy(log_softmax(logits) + noise)


@pytest.mark.parametrize("factor", [0.75, 1.0, 2.0])
def test_a_known_temperature_is_found(factor: float) -> None:
    logits, texts = drawn(500)
    assert likeliest_temperature(logits * factor, texts) == pytest.approx(factor, rel=0.1)


def test_a_reader_that_is_never_wrong_is_trusted() -> None:
    text = "A123BC77"
    logits = np.full((4, CLASSES, 18), -20.0, np.float32)
    alphabet = "0123456789ABEKMHOPCTYX"
    for step in range(18):
        place, between = divmod(step, 2)
        label = alphabet.index(text[place]) if place < len(text) and not between else CLASSES - 1
        logits[:, label, step] = 20
    found = calibration(logits, [text] * 4)
    assert found["ece"] == pytest.approx(0, abs=1e-3)
    assert calibration(logits, ["A123BC78"] * 4)["ece"] == pytest.approx(1, abs=1e-3)
