"""Scenes, photos with swapped plates, and poses."""

import numpy as np
import pytest

from platemill.render.camera import Pose, project
from platemill.render.develop import develop
from platemill.render.distractors import distractor
from platemill.render.labels import Labels
from platemill.render.overlays import overlay
from platemill.render.plate import draw_plate
from platemill.render.scene import any_plate, draw_on_photo, draw_scene
from platemill.render.swap import swap

SIZE = np.array([256, 192, 256, 192], np.float32)
PHOTO = np.full((192, 256, 3), 90, np.uint8)


def photo_plates() -> Labels:
    return Labels.of_boxes(np.array([[20, 20, 80, 35], [120, 100, 200, 120]], np.float32))


def test_a_frontal_plate_keeps_its_proportions() -> None:
    quad = project(Pose(0, 0, 0, 10), 520)
    np.testing.assert_allclose(quad, [[-260, -56], [260, -56], [260, 56], [-260, 56]], atol=0.01)


def test_a_turned_plate_is_higher_for_its_width() -> None:
    quad = project(Pose(50, 0, 0, 10), 100)
    span = quad.max(axis=0) - quad.min(axis=0)
    assert span[0] == pytest.approx(100)
    assert span[1] > 30


def test_scenes_hold_their_plates_whose_corners_span_their_boxes() -> None:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(12):
        scene = draw_scene(rng, 256, 192)
        plates = scene.plates
        assert scene.image.shape == (192, 256, 3)
        assert scene.image.dtype == np.uint8
        assert (plates.boxes >= -0.01).all()
        assert (plates.boxes <= SIZE + 0.01).all()
        assert plates.known().all()
        np.testing.assert_array_equal(plates.corners.min(axis=1), plates.boxes[:, :2])
        np.testing.assert_array_equal(plates.corners.max(axis=1), plates.boxes[:, 2:])
        found += len(plates)
    assert found > 4


def test_a_seed_draws_the_same_scene() -> None:
    first, again, other = (draw_scene(np.random.default_rng(s), 256, 192) for s in (4, 4, 5))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.plates.corners, again.plates.corners)
    assert not np.array_equal(first.image, other.image)


def test_square_plates_are_marked() -> None:
    rng = np.random.default_rng(3)
    plates = [any_plate(rng) for _ in range(60)]
    wide = {plate.two_lines: [] for plate in plates}
    for plate in plates:
        rows, columns = plate.mask.shape
        wide[plate.two_lines].append(columns / rows)
    assert max(wide[True]) < 2.5 < min(wide[False])


def test_a_scene_on_a_photo_keeps_the_photos_plates() -> None:
    plates = photo_plates()
    scene = draw_on_photo(np.random.default_rng(5), PHOTO, plates, np.zeros(2, np.bool_))
    np.testing.assert_array_equal(scene.plates.boxes[:2], plates.boxes)
    assert not scene.plates.known()[:2].any()
    assert scene.plates.known()[2:].all()


def test_swapped_plates_lie_where_the_photos_plates_were() -> None:
    plates = photo_plates()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scene = draw_on_photo(rng, PHOTO, plates, np.array([False, True]))
        np.testing.assert_array_equal(scene.plates.boxes[0], plates.boxes[0])
        assert scene.plates.known().tolist()[:2] == [False, True]
        old, new = plates.boxes[1], scene.plates.boxes[1]
        middle = (new[:2] + new[2:]) / 2
        assert (middle > old[:2]).all()
        assert (middle < old[2:]).all()


def test_a_swapped_plate_takes_the_photos_light() -> None:
    rng = np.random.default_rng(1)
    plate = draw_plate("A123BC77", rng, 0.5)
    box = np.array([60, 80, 180, 106], np.float32)
    seen = {}
    for tone in (25.0, 160.0):
        canvas = np.full((192, 256, 3), tone, np.float32)
        swap(canvas, box, plate, np.random.default_rng(2))
        seen[tone] = canvas[85:100, 70:170].mean()
    assert seen[25.0] < 0.5 * seen[160.0]


def test_overlays_and_the_camera_work_at_any_size() -> None:
    rng = np.random.default_rng(9)
    for _ in range(60):
        rows, columns = (int(v) for v in rng.integers(60, 300, 2))
        canvas = np.full((rows, columns, 3), 100, np.float32)
        overlay(canvas, rng)
        photo = develop(canvas, rng, 14.0)
        assert photo.shape == (rows, columns, 3)
        assert photo.dtype == np.uint8


def test_distractors_are_flat_pictures_with_nothing_to_read() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        drawn = distractor(rng)
        assert drawn.text == ""
        assert drawn.image.shape == (*drawn.mask.shape, 3)
        assert drawn.image.min() >= 0
        assert drawn.image.max() <= 255
        assert drawn.mask.max() <= 1
        assert drawn.mask.mean() > 0.1
