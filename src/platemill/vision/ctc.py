"""From the reader's logits to texts: CTC decoding under the plates' grammar.

CTC: Graves et al., "Connectionist Temporal Classification", ICML 2006. The prefix beam
search is that of Hannun et al., arXiv:1408.2873, with the grammar in place of a language
model: only prefixes of some well-formed plate stay in the beam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from platemill.vision.plates import (
    ALPHABET,
    DIGITS,
    LETTERS,
    PUBLISHED_KINDS,
    REGION_FIRST_DIGITS,
    Kind,
    is_well_formed,
)

BLANK = len(ALPHABET)
CLASSES = BLANK + 1
TIME_STEPS = 18

PUBLISH_FROM = 0.05
"""Least probability of a text under the grammar for it to be published."""

SURE_FROM = 0.9
"""A well-formed greedy text with at least this probability is taken without a search."""

_BEAM = 16
_LEAST_CHARACTER = 1e-4


@dataclass(frozen=True)
class Reading:
    """What was read from one crop.

    raw_text: the likeliest character at every step, whatever it spells.
    plate: the likeliest well-formed plate, or "" when none is likely enough.
    confidence: 0 to 1, the network's probability of `plate`, or of `raw_text` without one.
    """

    raw_text: str
    plate: str
    confidence: float


def decode(logits: NDArray[np.float32], kinds: tuple[Kind, ...] = PUBLISHED_KINDS) -> list[Reading]:
    """Read a batch of logits, float32 [N, 23, 18] (class, time step); N may be 0.

    A row's reading does not depend on the other rows.

    Raises:
        ValueError: the shape is another.
    """
    if logits.ndim != 3 or logits.shape[1] != CLASSES:
        raise ValueError(f"logits must be [N, {CLASSES}, T], got {list(logits.shape)}")
    if not len(logits):
        return []
    log_probabilities = _log_softmax(logits.astype(np.float64))
    raw_texts = greedy(log_probabilities)
    raw_scores = score(log_probabilities, raw_texts)
    texts = list(raw_texts)
    for row, (text, sure) in enumerate(zip(raw_texts, raw_scores, strict=True)):
        if sure < SURE_FROM or not is_well_formed(text, kinds):
            texts[row] = search(log_probabilities[row], kinds)
    scores = score(log_probabilities, texts)
    readings = []
    for raw, raw_score, text, text_score in zip(raw_texts, raw_scores, texts, scores, strict=True):
        if text and text_score >= PUBLISH_FROM:
            readings.append(Reading(raw, text, float(min(text_score, 1.0))))
        else:
            readings.append(Reading(raw, "", float(min(raw_score, 1.0))))
    return readings


def greedy(log_probabilities: NDArray[np.float64]) -> list[str]:
    """Texts of the likeliest class at every step of [N, 23, T], merged as CTC does."""
    texts = []
    for path in log_probabilities.argmax(axis=1):
        before = BLANK
        text = []
        for label in path:
            if label not in (before, BLANK):
                text.append(ALPHABET[label])
            before = label
        texts.append("".join(text))
    return texts


def score(log_probabilities: NDArray[np.float64], texts: list[str]) -> NDArray[np.float64]:
    """Probability of each text, summed over all its alignments (the CTC forward pass).

    Args:
        log_probabilities: [N, 23, T].
        texts: N texts over the alphabet.

    Returns:
        float64 [N], 0 to 1.
    """
    count, _, steps = log_probabilities.shape
    width = 2 * max((len(text) for text in texts), default=0) + 1
    labels = np.full((count, width), BLANK, np.intp)
    for row, text in enumerate(texts):
        labels[row, 1 : 2 * len(text) : 2] = [ALPHABET.index(c) for c in text]
    last = np.array([2 * len(text) for text in texts], np.intp)
    may_skip = np.zeros((count, width), bool)
    may_skip[:, 2:] = (labels[:, 2:] != BLANK) & (labels[:, 2:] != labels[:, :-2])
    probabilities = np.exp(np.take_along_axis(log_probabilities, labels[:, :, None], axis=1))
    forward = np.zeros((count, width))
    forward[:, :2] = probabilities[:, :2, 0]
    for step in range(1, steps):
        arriving = forward.copy()
        arriving[:, 1:] += forward[:, :-1]
        arriving[:, 2:] += np.where(may_skip[:, 2:], forward[:, :-2], 0.0)
        forward = arriving * probabilities[:, :, step]
    rows = np.arange(count)
    before_last = np.where(last > 0, forward[rows, np.maximum(last - 1, 0)], 0.0)
    return np.asarray(forward[rows, last] + before_last, dtype=np.float64)


def search(log_probabilities: NDArray[np.float64], kinds: tuple[Kind, ...]) -> str:
    """The likeliest well-formed plate of one row, [23, T]; "" if the beam holds none."""
    patterns = _patterns(kinds)
    beam: dict[str, tuple[float, float]] = {"": (1.0, 0.0)}
    for step in range(log_probabilities.shape[1]):
        column = [math.exp(value) for value in log_probabilities[:, step]]
        likely = {
            character: column[label]
            for label, character in enumerate(ALPHABET)
            if column[label] >= _LEAST_CHARACTER
        }
        grown: dict[str, tuple[float, float]] = {}
        for prefix, (blank, label) in beam.items():
            repeat = column[ALPHABET.index(prefix[-1])] if prefix else 0.0
            _add(grown, prefix, (blank + label) * column[BLANK], label * repeat)
            for character in _next(prefix, patterns):
                if character in likely:
                    from_paths = blank if prefix.endswith(character) else blank + label
                    _add(grown, prefix + character, 0.0, from_paths * likely[character])
        ranked = sorted(grown.items(), key=lambda item: (-sum(item[1]), item[0]))
        beam = dict(ranked[:_BEAM])
    whole = [text for text in beam if is_well_formed(text, kinds)]
    return max(whole, key=lambda text: (sum(beam[text]), text), default="")


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(shifted - total, dtype=np.float64)


def _patterns(kinds: tuple[Kind, ...]) -> list[list[str]]:
    """For every kind and region length, the characters allowed at each place."""
    patterns = []
    for kind in kinds:
        body = [LETTERS if place == "L" else DIGITS for place in kind.layout]
        for digits in kind.region_digits:
            region = [DIGITS] * digits if digits == 2 else [REGION_FIRST_DIGITS, DIGITS, DIGITS]
            patterns.append(body + region)
    return patterns


def _next(prefix: str, patterns: list[list[str]]) -> str:
    """The characters that may follow a prefix."""
    place = len(prefix)
    allowed = ""
    for pattern in patterns:
        if place < len(pattern) and all(c in p for c, p in zip(prefix, pattern, strict=False)):
            allowed += "".join(c for c in pattern[place] if c not in allowed)
    return allowed


def _add(beam: dict[str, tuple[float, float]], prefix: str, blank: float, label: float) -> None:
    before_blank, before_label = beam.get(prefix, (0.0, 0.0))
    beam[prefix] = (before_blank + blank, before_label + label)
