"""Cutting crops for the reader."""

import numpy as np
import pytest

from platemill.vision import crops


def test_no_boxes_give_no_crops() -> None:
    out = crops.prepare_crops(np.zeros((10, 10, 3), np.uint8), np.zeros((0, 4), np.float32))
    assert out.shape == (0, 3, 24, 94)
    assert out.dtype == np.float32


def test_crops_are_rgb_and_centred_on_zero() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:] = (255, 0, 127)
    box = np.array([[50, 20, 200, 60]], np.float32)
    out = crops.prepare_crops(image, box)
    assert out.flags.c_contiguous
    expected = (np.array([127, 0, 255]) - 127.5) / 128
    np.testing.assert_allclose(out[0, :, 12, 40], expected, atol=1e-6)


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (9, 9, 9, 9), (-50, -50, -10, -10), (40, 40, 90, 90), (3, 8, 2, 7)]
)
def test_any_box_gives_a_crop(box: tuple[float, ...]) -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    out = crops.prepare_crops(image, np.array([box], np.float32))
    assert out.shape == (1, 3, 24, 94)
    assert np.isfinite(out).all()


def test_crops_do_not_depend_on_each_other() -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    boxes = np.array([[10, 10, 100, 40], [120.5, 60.2, 170, 75]], np.float32)
    together = crops.prepare_crops(image, boxes)
    alone = crops.prepare_crops(image, boxes[1:])
    np.testing.assert_array_equal(together[1:], alone)


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        crops.prepare_crops(np.zeros((10, 10, 3), np.uint8), np.zeros((4,), np.float32))
