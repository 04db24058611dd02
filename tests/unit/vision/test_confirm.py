"""Candidates that the detector is not sure of, and what reading says of them."""

import numpy as np
import pytest

from platemill.vision.confirm import confirmed
from platemill.vision.ctc import Reading
from platemill.vision.detector import fit, select
from platemill.vision.profile import DetectorProfile

PROFILE = DetectorProfile(score_threshold=0.6, confirmed_from=0.2, scraps_from=0.8)
READ = Reading(raw_text="A123BC77", plate="A123BC77", confidence=0.4)
UNREAD = Reading(raw_text="111", plate="", confidence=0.9)
SCRAP = Reading(raw_text="11", plate="", confidence=0.9)
NOTHING = Reading(raw_text="", plate="", confidence=0.9)


def test_a_sure_candidate_needs_no_text_and_a_weak_one_does() -> None:
    scores = np.array([0.9, 0.6, 0.59, 0.3, 0.3], np.float32)
    readings = [UNREAD, READ, UNREAD, READ, UNREAD]
    kept = confirmed(scores, readings, PROFILE)
    assert kept.tolist() == [True, True, False, True, False]


def test_of_what_gives_one_or_two_characters_the_detector_has_to_be_surer() -> None:
    scores = np.array([0.79, 0.8, 0.6, 0.6], np.float32)
    kept = confirmed(scores, [SCRAP, SCRAP, NOTHING, UNREAD], PROFILE)
    assert kept.tolist() == [False, True, True, True]


@pytest.mark.parametrize("scraps_from", [0.0, 0.5])
def test_scraps_never_need_less_than_others(scraps_from: float) -> None:
    profile = DetectorProfile(score_threshold=0.6, scraps_from=scraps_from)
    kept = confirmed(np.array([0.59, 0.6], np.float32), [SCRAP, SCRAP], profile)
    assert kept.tolist() == [False, True]


def test_nothing_found_is_nothing_confirmed() -> None:
    kept = confirmed(np.zeros(0, np.float32), [], PROFILE)
    assert kept.dtype == np.bool_
    assert kept.shape == (0,)


def test_the_weakest_thresholds_choose_what_reading_may_confirm() -> None:
    candidates = np.array(
        [[10, 10, 60, 22, 0.7], [10, 40, 60, 52, 0.3], [10, 70, 60, 82, 0.19]], np.float32
    )
    letterbox = fit(96, 96)
    assert len(select(candidates, letterbox, PROFILE)) == 1
    np.testing.assert_allclose(
        select(candidates, letterbox, PROFILE.weakest).scores, [0.7, 0.3], rtol=1e-6
    )


@pytest.mark.parametrize("given", [{}, {"score_threshold": 0.1}])
def test_a_yolo_of_ones_own_is_not_second_guessed(given: dict[str, float]) -> None:
    profile = DetectorProfile.model_validate({"file": "x.onnx", "output": "yolov8", **given})
    assert profile.weakest.score_threshold == profile.score_threshold


def test_the_weakest_threshold_is_never_above_the_sure_one() -> None:
    assert DetectorProfile(score_threshold=0.1).weakest.score_threshold == 0.1
