"""How far the reader's confidences can be trusted, and the temperature that mends them.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with the
CTC likelihood of the whole text in the place of a class's probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from platemill.evaluation.measures import calibration_error
from platemill.vision.ctc import decode, log_softmax, score
from platemill.vision.profile import BUILT_IN

_TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(4.0), 85))
_LEAST_LIKELIHOOD = 1e-6


def likeliest_temperature(logits: NDArray[np.float32], texts: list[str]) -> float:
    """The temperature under which the texts are likeliest.

    A text counts as at least one in a million likely: what nobody could read does not decide.

    Args:
        logits: float32 [N, 23, 18].
        texts: the N right ones.
    """
    costs = [
        -np.log(np.maximum(score(log_softmax(logits / t), texts), _LEAST_LIKELIHOOD)).mean()
        for t in _TEMPERATURES
    ]
    return round(float(_TEMPERATURES[int(np.argmin(costs))]), 2)


def calibration(logits: NDArray[np.float32], texts: list[str]) -> dict[str, float | None]:
    """The likeliest temperature, and the calibration error as it is and with that one.

    Args:
        logits: float32 [N, 23, 18].
        texts: the N right ones, of kinds that are published.
    """
    best = likeliest_temperature(logits, texts)
    return {
        "temperature": best,
        "ece": _error(logits, texts, BUILT_IN.reader.temperature),
        "ece_at_temperature": _error(logits, texts, best),
    }


def _error(logits: NDArray[np.float32], texts: list[str], temperature: float) -> float | None:
    reader = BUILT_IN.reader.model_copy(update={"temperature": temperature})
    readings = decode(logits, reader)
    return calibration_error(
        (reading.confidence, reading.plate == text)
        for reading, text in zip(readings, texts, strict=True)
        if reading.plate
    )
