"""Cutting crops for the reader."""

import cv2
import numpy as np
import pytest

from platemill.vision import crops
from platemill.vision.detector import Detections
from platemill.vision.profile import CropProfile


def boxes(*given: tuple[float, ...]) -> Detections:
    return Detections.of_boxes(np.array(given, np.float32).reshape(-1, 4))


def face(*corners: tuple[float, float], two_lines: bool = False) -> Detections:
    points = np.array(corners, np.float32)
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])[None]
    return Detections(box, np.ones(1, np.float32), points[None], np.array([two_lines]))


def test_no_boxes_give_no_crops() -> None:
    out = crops.prepare_crops(np.zeros((10, 10, 3), np.uint8), boxes())
    assert out.shape == (0, 3, 24, 94)
    assert out.dtype == np.float32


def test_crops_are_rgb_and_centred_on_zero() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:] = (255, 0, 127)
    out = crops.prepare_crops(image, boxes((50, 20, 200, 60)))
    assert out.flags.c_contiguous
    expected = (np.array([127, 0, 255]) - 127.5) / 128
    np.testing.assert_allclose(out[0, :, 12, 40], expected, atol=1e-6)


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (9, 9, 9, 9), (-50, -50, -10, -10), (40, 40, 90, 90), (3, 8, 2, 7)]
)
def test_any_box_gives_a_crop(box: tuple[float, ...]) -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    out = crops.prepare_crops(image, boxes(box))
    assert out.shape == (1, 3, 24, 94)
    assert np.isfinite(out).all()


def test_crops_do_not_depend_on_each_other() -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    first, second = (10, 10, 100, 40), (120.5, 60.2, 170, 75)
    together = crops.prepare_crops(image, boxes(first, second))
    alone = crops.prepare_crops(image, boxes(second))
    np.testing.assert_array_equal(together[1:], alone)


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        Detections.of_boxes(np.zeros((4,), np.float32))


def test_a_leaning_face_is_put_upright() -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    corners = [(60.0, 40.0), (300.0, 80.0), (310.0, 150.0), (70.0, 110.0)]
    flat = np.zeros((48, 188, 3), np.uint8)
    flat[:, :94] = (0, 0, 250)
    flat[:, 94:] = (0, 250, 0)
    edges = np.array([[0, 0], [188, 0], [188, 48], [0, 48]], np.float32)
    matrix = cv2.getPerspectiveTransform(edges, np.array(corners, np.float32))
    image = cv2.warpPerspective(flat, matrix, (400, 200))
    (crop,) = crops.prepare_crops(image, face(*corners), CropProfile(margin_x=0, margin_y=0))
    left, right = crop[:, 2:22, 2:44], crop[:, 2:22, 50:92]
    assert left[0].min() > 0.8 > -0.8 > left[1].max()
    assert right[1].min() > 0.8 > -0.8 > right[0].max()


def test_the_lower_line_of_a_square_plate_goes_to_the_right() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:50, 50:150] = (0, 0, 255)
    image[50:80, 50:150] = (255, 0, 0)
    plate = face((50, 20), (150, 20), (150, 80), (50, 80), two_lines=True)
    (crop,) = crops.prepare_crops(image, plate, CropProfile(margin_x=0, margin_y=0))
    assert crop[0, 4:20, 3:44].min() > 0.9
    assert crop[2, 4:20, 50:91].min() > 0.9


@pytest.mark.parametrize("width", [64, 65])
@pytest.mark.parametrize("two_lines", [False, True])
def test_a_profile_says_size_colours_and_values(width: int, two_lines: bool) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[:] = (255, 100, 0)
    profile = CropProfile(width=width, height=32, colour="BGR", mean=(10, 20, 30), std=50)
    plate = face((5, 5), (80, 5), (80, 40), (5, 40), two_lines=two_lines)
    (crop,) = crops.prepare_crops(image, plate, profile)
    assert crop.shape == (3, 32, width)
    np.testing.assert_allclose(crop[:, 16, -1], [245 / 50, 80 / 50, -30 / 50], atol=1e-6)


def test_margins_show_what_is_around_the_face() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 50:150] = 255
    tight = crops.prepare_crops(
        image, boxes((50, 40, 150, 60)), CropProfile(margin_x=0, margin_y=0)
    )
    wide = crops.prepare_crops(
        image, boxes((50, 40, 150, 60)), CropProfile(margin_x=0.5, margin_y=0.5)
    )
    assert (tight > 0).mean() > 0.98
    assert 0.2 < (wide > 0).mean() < 0.3
