"""Which of the detector's candidates are plates: those it is sure of, and those that can be read.

What looks like a plate and is none (a grille, a badge, a sign) has no text of a plate's format,
so a text that is published for a weak candidate tells more than the candidate's score. A reading of
one or two characters is neither a text nor the certainty that there is none, which a foreign plate
gives: what it comes from has to have a high score to count alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from platemill.vision.ctc import Reading
from platemill.vision.profile import BUILT_IN, DetectorProfile

SCRAP_CHARACTERS = 2
"""A reading of this many characters, or of one, is a scrap: bolts and slats pass for characters."""


def confirmed(
    scores: NDArray[np.float32],
    readings: Sequence[Reading],
    profile: DetectorProfile = BUILT_IN.detector,
) -> NDArray[np.bool_]:
    """Which candidates are plates.

    Args:
        scores: float32 [N], of the candidates that `select` chose under `profile.weakest`.
        readings: what was read from each.
        profile: the thresholds.

    Returns:
        bool [N]. The answer for one candidate does not depend on the others.
    """
    published = np.array([bool(reading.plate) for reading in readings], np.bool_)
    scraps = np.array([0 < len(r.raw_text) <= SCRAP_CHARACTERS for r in readings], np.bool_)
    wanted = np.where(
        scraps, max(profile.score_threshold, profile.scraps_from), profile.score_threshold
    )
    return np.asarray(published | (scores >= wanted))
