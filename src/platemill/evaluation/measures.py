"""From outcomes to figures. docs/evaluation.md gives the same definitions at more length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from platemill.evaluation.matching import Outcome, Verdict

__all__ = ["SURE_FROM", "Measures", "calibration_error", "distance", "measure"]

SURE_FROM = 0.9
"""Confidence from which a published text counts as sure."""

BINS = 15
"""Bins of equal width that the calibration error is taken over."""

_FALSE_TEXTS = (Verdict.WRONG_TEXT, Verdict.FOREIGN_TEXT)


@dataclass(frozen=True)
class Measures:
    """The figures of a set of photos. A rate of nothing is None.

    Args:
        photos: photos.
        plates: labelled plates that are not ignored.
        texts: of these, plates whose text is labelled and of the format that is read.
        exact: texts that are published exactly, letter for letter.
        exact_rate: exact / texts.
        char_error_rate: characters to insert, delete or replace (Levenshtein) to turn the
            published texts into the labelled ones / characters of the labelled ones. A plate
            that is missed or refused costs all of its characters.
        raw_char_error_rate: the same of the raw texts.
        recall: plates found, at an IoU of 0.5, / plates.
        precision: plates found / (plates found + false boxes).
        false_positives: boxes where no plate is.
        false_positives_per_photo: false_positives / photos.
        published: texts that are published, where it is known whether they are right.
        false_texts: of these, texts that are not the plate's: wrong ones, those of false boxes,
            and those of plates of another format.
        false_text_rate: false_texts / plates.
        published_sure: texts published with a confidence of at least 0.9.
        false_texts_sure: of these, texts that are not the plate's.
        wrong_sure_rate: false_texts_sure / published_sure.
        wrong_sure_of_plates: false_texts_sure / plates.
        ece: expected calibration error of the published texts' confidence, over 15 bins.
        brier: mean squared difference between confidence and being right, of published texts.
        errors: how many there are of each kind.
    """

    photos: int
    plates: int
    texts: int
    exact: int
    exact_rate: float | None
    char_error_rate: float | None
    raw_char_error_rate: float | None
    recall: float | None
    precision: float | None
    false_positives: int
    false_positives_per_photo: float | None
    published: int
    false_texts: int
    false_text_rate: float | None
    published_sure: int
    false_texts_sure: int
    wrong_sure_rate: float | None
    wrong_sure_of_plates: float | None
    ece: float | None
    brier: float | None
    errors: dict[str, int]


def measure(outcomes: Iterable[Outcome], photos: int) -> Measures:
    """Sum up what became of the plates of some photos."""
    outcomes = list(outcomes)
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    plates = len(outcomes) - verdicts[Verdict.FALSE_BOX]
    found = plates - verdicts[Verdict.MISSED]
    texts = [outcome for outcome in outcomes if outcome.wanted]
    exact = sum(outcome.verdict is Verdict.EXACT for outcome in texts)
    said = [
        (outcome.seen.confidence, outcome.verdict is Verdict.EXACT)
        for outcome in outcomes
        if outcome.seen and outcome.seen.plate and outcome.wanted is not None
    ]
    false_texts = sum(not right for _, right in said)
    sure = [right for confidence, right in said if confidence >= SURE_FROM]
    false_sure = len(sure) - sum(sure)
    characters = sum(len(outcome.wanted or "") for outcome in texts)
    return Measures(
        photos=photos,
        plates=plates,
        texts=len(texts),
        exact=exact,
        exact_rate=_rate(exact, len(texts)),
        char_error_rate=_rate(
            sum(_errors(o, o.seen.plate if o.seen else "") for o in texts), characters
        ),
        raw_char_error_rate=_rate(
            sum(_errors(o, o.seen.raw_text if o.seen else "") for o in texts), characters
        ),
        recall=_rate(found, plates),
        precision=_rate(found, found + verdicts[Verdict.FALSE_BOX]),
        false_positives=verdicts[Verdict.FALSE_BOX],
        false_positives_per_photo=_rate(verdicts[Verdict.FALSE_BOX], photos),
        published=len(said),
        false_texts=false_texts,
        false_text_rate=_rate(false_texts, plates),
        published_sure=len(sure),
        false_texts_sure=false_sure,
        wrong_sure_rate=_rate(false_sure, len(sure)),
        wrong_sure_of_plates=_rate(false_sure, plates),
        ece=calibration_error(said),
        brier=_rate(sum((confidence - right) ** 2 for confidence, right in said), len(said)),
        errors={v.value: verdicts[v] for v in Verdict if v.is_error},
    )


def calibration_error(said: Iterable[tuple[float, bool]]) -> float | None:
    """Expected calibration error (Guo et al., ICML 2017), over 15 bins of equal width.

    In each bin the mean confidence is compared with the part that is right; the differences are
    weighted by the bins' sizes.

    Args:
        said: confidences, 0 to 1, each with whether it was right.

    Returns:
        0 to 1; None of nothing.
    """
    pairs = list(said)
    if not pairs:
        return None
    confidences = np.array([confidence for confidence, _ in pairs], np.float64)
    right = np.array([right for _, right in pairs], np.float64)
    bins = np.minimum((confidences * BINS).astype(np.intp), BINS - 1)
    gaps = np.abs(np.bincount(bins, confidences - right, BINS))
    return float(gaps.sum() / len(pairs))


def distance(read: str, wanted: str) -> int:
    """Levenshtein distance: characters to insert, delete or replace."""
    before = list(range(len(wanted) + 1))
    for row, a in enumerate(read, 1):
        now = [row]
        for column, b in enumerate(wanted, 1):
            now.append(min(now[-1] + 1, before[column] + 1, before[column - 1] + (a != b)))
        before = now
    return before[-1]


def _errors(outcome: Outcome, read: str) -> int:
    return distance(read, outcome.wanted or "")


def _rate(part: float, whole: int) -> float | None:
    return part / whole if whole else None
