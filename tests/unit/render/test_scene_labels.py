"""What is known of plates, after the picture was moved, mirrored and cut."""

import numpy as np
import pytest

from platemill.render.labels import Labels

QUAD = np.array([[[10, 20], [60, 25], [60, 40], [10, 35]]], np.float32)
MIRROR = np.array([[-1.0, 0, 100], [0, 1, 0], [0, 0, 1]])


def labels() -> Labels:
    known = Labels.of_quads(QUAD, np.array([True]))
    return known.joined(Labels.of_boxes(np.array([[70, 50, 90, 60]], np.float32)))


def test_boxes_are_the_hulls_of_corners() -> None:
    np.testing.assert_array_equal(labels().boxes, [[10, 20, 60, 40], [70, 50, 90, 60]])
    assert labels().known().tolist() == [True, False]
    assert len(labels()) == 2


def test_a_mirrored_plate_still_turns_clockwise_from_the_top_left() -> None:
    mirrored = labels().mapped(MIRROR)
    np.testing.assert_allclose(mirrored.corners[0], [[40, 25], [90, 20], [90, 35], [40, 40]])
    np.testing.assert_allclose(mirrored.boxes, [[40, 20, 90, 40], [10, 50, 30, 60]])
    assert mirrored.known().tolist() == [True, False]
    np.testing.assert_allclose(mirrored.mapped(MIRROR).corners[0], QUAD[0])


def test_a_turned_box_grows_and_a_turned_quad_does_not_change_its_area() -> None:
    quarter = np.array([[0.0, -1, 100], [1, 0, 0], [0, 0, 1]])
    turned = labels().mapped(quarter)
    np.testing.assert_allclose(turned.boxes, [[60, 10, 80, 60], [40, 70, 50, 90]])
    np.testing.assert_allclose(turned.corners[0, 0], [80, 10])


def test_cut_plates_lose_their_corners_and_then_are_ignored() -> None:
    whole = labels().within(100, 100)
    assert whole.known().tolist() == [True, False]
    assert not whole.ignored.any()
    cut = labels().within(50, 100)
    assert cut.known().tolist() == [False]
    assert cut.ignored.tolist() == [False]
    np.testing.assert_allclose(cut.boxes, [[10, 20, 50, 40]])
    rest = labels().within(30, 100)
    assert rest.ignored.tolist() == [True]


@pytest.mark.parametrize("count", [0, 3])
def test_shifting_keeps_the_count(count: int) -> None:
    plates = Labels.of_boxes(np.zeros((count, 4), np.float32)).shifted(5, 7)
    assert plates.boxes.tolist() == [[5, 7, 5, 7]] * count
    assert len(plates.mapped(MIRROR)) == count
