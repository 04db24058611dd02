"""Scenes, crops and poses."""

import numpy as np
import pytest

from platemill.render.camera import Pose, project
from platemill.render.crop import crop_of, random_plate
from platemill.render.scene import draw_scene


def test_a_frontal_plate_keeps_its_proportions() -> None:
    quad = project(Pose(0, 0, 0, 10), 520)
    np.testing.assert_allclose(quad, [[-260, -56], [260, -56], [260, 56], [-260, 56]], atol=0.01)


def test_a_turned_plate_is_higher_for_its_width() -> None:
    quad = project(Pose(50, 0, 0, 10), 100)
    span = quad.max(axis=0) - quad.min(axis=0)
    assert span[0] == pytest.approx(100)
    assert span[1] > 30


def test_scenes_hold_their_boxes() -> None:
    rng = np.random.default_rng(11)
    boxes = 0
    for _ in range(12):
        scene = draw_scene(rng, 256, 192)
        assert scene.image.shape == (192, 256, 3)
        assert scene.image.dtype == np.uint8
        assert scene.boxes.shape[1:] == (4,)
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= [256, 192, 256, 192]).all()
        boxes += len(scene.boxes)
    assert boxes > 4


def test_a_scene_on_a_photo_keeps_the_photos_plates() -> None:
    photo = np.full((192, 256, 3), 90, np.uint8)
    taken = np.array([[20, 20, 80, 35]], np.float32)
    scene = draw_scene(np.random.default_rng(5), 256, 192, photo, taken)
    np.testing.assert_array_equal(scene.boxes[0], taken[0])


def test_crops_are_what_the_reader_takes() -> None:
    rng = np.random.default_rng(1)
    plate = random_plate(rng)
    crops = [crop_of(plate, rng) for _ in range(20)]
    assert {crop.shape for crop in crops} == {(24, 94, 3)}
    assert {crop.dtype for crop in crops} == {np.dtype(np.uint8)}
