"""Letterboxing and the choice of boxes."""

import numpy as np
import pytest

from platemill.vision import detector


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1, 1, (32, 32)),
        (640, 480, (640, 480)),
        (1280, 720, (640, 384)),
        (720, 1280, (384, 640)),
        (7000, 6000, (640, 576)),
        (5000, 1, (640, 32)),
        (320, 200, (320, 224)),
    ],
)
def test_inputs_are_multiples_of_32_and_never_enlarged(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    tensor, box = detector.prepare(np.zeros((height, width, 3), np.uint8))
    assert tensor.shape == (1, 3, expected[1], expected[0])
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert box.scale_x <= 1.0
    assert box.scale_y <= 1.0 or height == 1


def test_colours_become_rgb_between_zero_and_one() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (255, 51, 0)
    tensor, _ = detector.prepare(image)
    np.testing.assert_allclose(tensor[0, :, 5, 5], [0.0, 0.2, 1.0], atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detector.prepare(np.zeros(shape, np.uint8))


def test_a_plain_float_image_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        detector.prepare(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_boxes_come_back_in_pixels_of_the_image() -> None:
    box = detector.fit(1280, 720)
    candidates = np.array([[[100, 50, 200, 80, 0.9]]], np.float32)[0]
    boxes, scores = detector.select(candidates, box, 0.5, 0.5)
    np.testing.assert_allclose(boxes, [[200, 100, 400, 160]])
    np.testing.assert_allclose(scores, [0.9])
    assert boxes.dtype == scores.dtype == np.float32


def test_boxes_are_clipped_to_the_image() -> None:
    box = detector.fit(640, 360)
    candidates = np.array([[-20, -5, 700, 380, 0.9], [650, 10, 700, 20, 0.8]], np.float32)
    boxes, _ = detector.select(candidates, box, 0.5, 0.5)
    np.testing.assert_allclose(boxes, [[0, 0, 640, 360]])


def test_weaker_overlapping_candidates_are_dropped() -> None:
    box = detector.fit(640, 480)
    candidates = np.array(
        [[10, 10, 110, 40, 0.6], [12, 10, 112, 40, 0.9], [300, 10, 400, 40, 0.7]], np.float32
    )
    boxes, scores = detector.select(candidates, box, 0.5, 0.3)
    np.testing.assert_allclose(scores, [0.9, 0.7])
    np.testing.assert_allclose(boxes[:, 0], [12, 300])


def test_equal_scores_go_by_position_whatever_their_order() -> None:
    box = detector.fit(640, 480)
    candidates = np.array(
        [[300, 10, 400, 40, 0.7], [10, 200, 90, 220, 0.7], [10, 10, 110, 40, 0.7]], np.float32
    )
    forwards, _ = detector.select(candidates, box, 0.5, 0.3)
    backwards, _ = detector.select(candidates[::-1], box, 0.5, 0.3)
    np.testing.assert_array_equal(forwards, backwards)
    np.testing.assert_array_equal(forwards[:, 0], [10, 300, 10])


@pytest.mark.parametrize("rows", [0, 3])
def test_no_plate_gives_empty_arrays(rows: int) -> None:
    candidates = np.zeros((rows, 5), np.float32)
    boxes, scores = detector.select(candidates, detector.fit(64, 64), 0.5, 0.5)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_candidates_that_are_not_finite_are_dropped() -> None:
    candidates = np.full((2, 5), np.nan, np.float32)
    candidates[1] = [0, 0, np.inf, 5, 0.9]
    boxes, _ = detector.select(candidates, detector.fit(64, 64), 0.5, 0.5)
    assert boxes.shape == (0, 4)
