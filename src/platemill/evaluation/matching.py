"""Which found plate is which labelled one, and what became of each: an outcome a plate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from platemill.evaluation.labels import Box, Label
from platemill.vision.detector import overlaps

__all__ = ["SAME_FROM", "Outcome", "Seen", "Verdict", "judge"]

SAME_FROM = 0.5
"""Overlap (IoU) from which a found box is the labelled one."""

_INSIDE_FROM = 0.5
"""Part of a found box that must lie in an ignored label for it to be dropped."""


@dataclass(frozen=True)
class Seen:
    """A plate that was found.

    Args:
        plate: the text that is published; empty if none is.
        raw_text: what was read, whatever it spells.
        confidence: of the text, 0 to 1.
        score: of the box, 0 to 1.
        box: xmin, ymin, xmax, ymax in pixels of the photo.
    """

    plate: str
    raw_text: str
    confidence: float
    score: float
    box: Box


class Verdict(StrEnum):
    """What became of a plate. The last five are errors."""

    EXACT = "exact"
    """Found, and exactly its text is published."""
    QUIET = "quiet"
    """Found, of another format than the one that is read, and nothing is published."""
    FOUND = "found"
    """Found; its text was not labelled."""
    MISSED = "missed"
    """Not found."""
    FALSE_BOX = "false box"
    """Found where no plate is."""
    WRONG_TEXT = "wrong text"
    """Found, and another text than its own is published."""
    REFUSED = "refused"
    """Found, but no text is published, though the plate is of the format that is read."""
    FOREIGN_TEXT = "foreign text"
    """Found, of another format than the one that is read, and yet a text is published."""

    @property
    def is_error(self) -> bool:
        """Whether it is none of the first three."""
        return self not in (Verdict.EXACT, Verdict.QUIET, Verdict.FOUND)


@dataclass(frozen=True)
class Outcome:
    """A labelled plate with the found one that is it, or either alone.

    Args:
        file: the photo, as ``labels.csv`` names it.
        verdict: what became of it.
        label: None for a false box.
        seen: None for a missed plate.
        wanted: the text that should be published: the label's if it is of the format that is
            read, else ""; None where the text was not labelled.
    """

    file: str
    verdict: Verdict
    label: Label | None
    seen: Seen | None
    wanted: str | None


def judge(
    file: str, labels: Sequence[Label], seen: Sequence[Seen], is_ours: Callable[[str], bool]
) -> list[Outcome]:
    """Compare what was found in a photo with its labels.

    The found boxes choose in the order of their scores; each takes the label that is still free
    and overlaps it most, from an IoU of 0.5. Of the boxes that find none, those are dropped that
    lie on an ignored label (IoU of at least 0.5, or half of the box within the label). What is
    left over on either side is missed or false.

    Args:
        file: the photo's name, for the outcomes.
        labels: of the photo.
        seen: what was found in the photo.
        is_ours: whether a text is of the format that is read.

    Returns:
        One outcome for each label that is not ignored, in their order, then the false boxes, the
        surest first.
    """
    counted = [label for label in labels if not label.ignored]
    ignored = [label for label in labels if label.ignored]
    taken: dict[int, Seen] = {}
    false: list[Seen] = []
    for one in sorted(seen, key=lambda one: -one.score):
        shared = _overlaps(one.box, counted)
        shared[list(taken)] = 0
        best = int(shared.argmax()) if len(shared) else -1
        if best >= 0 and shared[best] >= SAME_FROM:
            taken[best] = one
        elif not _lies_on(one.box, ignored):
            false.append(one)
    outcomes = []
    for index, label in enumerate(counted):
        wanted = None
        if label.plate:
            wanted = label.plate if is_ours(label.plate) else ""
        found = taken.get(index)
        outcomes.append(Outcome(file, _verdict(label, found, wanted), label, found, wanted))
    return outcomes + [Outcome(file, Verdict.FALSE_BOX, None, one, "") for one in false]


def _verdict(label: Label, seen: Seen | None, wanted: str | None) -> Verdict:
    if seen is None:
        return Verdict.MISSED
    if wanted is None:
        return Verdict.FOUND
    if seen.plate == label.plate:
        return Verdict.EXACT
    if not seen.plate:
        return Verdict.REFUSED if wanted else Verdict.QUIET
    return Verdict.WRONG_TEXT if wanted else Verdict.FOREIGN_TEXT


def _overlaps(box: Box, labels: Sequence[Label]) -> NDArray[np.float32]:
    boxes = np.array([label.box for label in labels], np.float32).reshape(-1, 4)
    return overlaps(np.array(box, np.float32), boxes)


def _lies_on(box: Box, labels: Sequence[Label]) -> bool:
    """Whether a box is on one of the labels: much of it shared, or half of it inside."""
    if not labels:
        return False
    if _overlaps(box, labels).max() >= SAME_FROM:
        return True
    area = (box[2] - box[0]) * (box[3] - box[1])
    for label in labels:
        width = min(box[2], label.box[2]) - max(box[0], label.box[0])
        height = min(box[3], label.box[3]) - max(box[1], label.box[1])
        if width > 0 and height > 0 and width * height >= _INSIDE_FROM * area:
            return True
    return False
