"""Crops for the reader: what they show, where they are cut, and what text they carry."""

import cv2
import numpy as np
import pytest

from platemill.render.camera import Pose, compress, light, random_pose, rescale
from platemill.render.crop import (
    TEXTURE_SCALE,
    crop_of,
    hull,
    nudge,
    photograph,
    random_negative,
    random_plate,
    samples,
)
from platemill.render.plate import Plate
from platemill.vision.crops import straighten
from platemill.vision.detector import overlaps
from platemill.vision.plates import KINDS, is_well_formed

FACE = np.array([[100, 50], [204, 60], [203, 84], [99, 73]], np.float32)


def box_of(corners: np.ndarray) -> np.ndarray:
    """The upright box around corners."""
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def test_samples_are_crops_with_well_formed_texts_or_none() -> None:
    rng = np.random.default_rng(1)
    drawn = [sample for _ in range(120) for sample in samples(rng, 2)]
    assert {crop.shape for crop, _ in drawn} == {(24, 94, 3)}
    assert {crop.dtype for crop, _ in drawn} == {np.dtype(np.uint8)}
    texts = [text for _, text in drawn if text]
    assert all(is_well_formed(text, KINDS) for text in texts)
    assert 0.02 < 1 - len(texts) / len(drawn) < 0.2
    assert len(set(texts)) > 90


def test_the_same_seed_gives_the_same_samples() -> None:
    one, two = (samples(np.random.default_rng(6), 3) for _ in range(2))
    for (crop, text), (again, same) in zip(one, two, strict=True):
        np.testing.assert_array_equal(crop, again)
        assert text == same


def test_negatives_carry_no_text() -> None:
    rng = np.random.default_rng(2)
    plates = [random_negative(rng) for _ in range(40)]
    assert {plate.text for plate in plates} == {""}
    assert all(plate.image.shape[:2] == plate.mask.shape for plate in plates)
    assert {crop_of(plate, rng).shape for plate in plates} == {(24, 94, 3)}


def test_a_square_plate_taken_for_a_long_one_is_not_to_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    square = next(p for p in iter(lambda: random_plate(rng), None) if p.two_lines)
    monkeypatch.setattr("platemill.render.crop.random_plate", lambda rng: square)
    monkeypatch.setattr("platemill.render.crop._NEGATIVES", 0.0)
    texts = [text for _, text in samples(rng, 80)]
    assert set(texts) == {square.text, ""}
    assert 0.8 < texts.count(square.text) / 80 < 1
    folded, unfolded = (crop_of(square, np.random.default_rng(8), u) for u in (False, True))
    assert not np.array_equal(folded, unfolded)


def test_the_corners_of_a_photograph_are_the_plates() -> None:
    """A plate of four coloured quarters: the crop between its corners shows just these."""
    rows, columns = round(112 * TEXTURE_SCALE), round(520 * TEXTURE_SCALE)
    image = np.full((rows, columns, 3), 20, np.float32)
    image[: rows // 2, : columns // 2] = 230
    image[rows // 2 :, columns // 2 :] = 230
    plate = Plate(image, np.ones((rows, columns), np.float32), "")
    agreed = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pose = Pose(yaw=25, pitch=10, roll=-12, distance=6)
        photo, corners = photograph(plate, pose, rng)
        grey = cv2.cvtColor(straighten(photo, corners), cv2.COLOR_BGR2GRAY).astype(float)
        face = grey[3:21, 5:89]
        bright = (face > (face.max() + face.min()) / 2).astype(float)
        quarters = [bright[:8, :40], bright[10:, 44:], 1 - bright[:8, 44:], 1 - bright[10:, :40]]
        agreed.append(np.mean([quarter.mean() for quarter in quarters]))
    assert np.median(agreed) > 0.97


def test_moved_corners_stay_near_and_turn_the_same_way() -> None:
    rng = np.random.default_rng(3)
    moved = np.array([nudge(FACE, rng) for _ in range(400)])
    away = np.abs(moved - FACE).max(axis=(1, 2))
    assert np.median(away) < 6
    assert away.max() < 25
    assert np.abs((moved - FACE).mean(axis=0)).max() < 1.5
    assert moved.dtype == np.float32


def test_hulls_are_upright_and_overlap_the_true_box() -> None:
    rng = np.random.default_rng(4)
    hulls = [hull(FACE, rng) for _ in range(400)]
    for corners in hulls:
        np.testing.assert_array_equal(
            corners[[0, 1, 2, 3], [1, 0, 1, 0]], corners[[1, 2, 3, 0], [1, 0, 1, 0]]
        )
    shared = overlaps(box_of(FACE), np.array([box_of(c) for c in hulls]))
    assert np.median(shared) > 0.85
    assert 0.5 < shared.min() < 0.75


def test_poses_are_mostly_mild_and_sometimes_steep() -> None:
    rng = np.random.default_rng(5)
    rolls = np.abs([random_pose(rng).roll for _ in range(1000)])
    assert np.median(rolls) < 6
    assert 25 < rolls.max() <= 32


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_rescaling_and_compression_keep_what_is_seen(factor: float) -> None:
    rng = np.random.default_rng(6)
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 30:] = 200
    for _ in range(8):
        out = compress(rescale(image, rng, factor), rng)
        assert out.shape == (round(20 * factor), round(60 * factor), 3)
        half = out.shape[1] // 2
        assert abs(float(out[:, half:].mean()) - 200) < 25
        assert float(out[:, :half].mean()) < 25


def test_harsh_light_is_dealt_out_by_its_measure() -> None:
    """Of a white plate, little light ever leaves less than harsh light does."""
    ends = []
    for harshness in (0.0, 1.0):
        rng = np.random.default_rng(7)
        seen = []
        for _ in range(200):
            image = np.full((16, 40, 3), 200, np.float32)
            light(image, rng, harshness)
            seen.append(float(image.mean()))
        ends.append(np.percentile(seen, 8))
    assert ends[1] < 0.8 * ends[0]
