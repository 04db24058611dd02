"""Drawn plates and characters."""

import numpy as np
import pytest

from platemill.render import glyphs
from platemill.render.foreign import draw_foreign
from platemill.render.plate import draw_plate, random_text
from platemill.vision.plates import ALPHABET, is_well_formed


@pytest.mark.parametrize("character", ALPHABET + "DRSU")
def test_every_character_is_drawn_within_its_box(character: str) -> None:
    drawn = glyphs.glyph(character, glyphs.WIDTHS[character], 58.0, 9.0, 1.0)
    assert drawn.dtype == np.float32
    assert 0.1 < drawn.mean() < 0.7
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0


def test_no_two_characters_look_the_same() -> None:
    drawn = [glyphs.glyph(c, 44.0, 76.0, 10.0, 1.0) for c in ALPHABET]
    for index, one in enumerate(drawn):
        for other in drawn[:index]:
            assert np.abs(one - other).mean() > 0.02


def test_random_texts_are_well_formed() -> None:
    rng = np.random.default_rng(0)
    texts = [random_text(rng) for _ in range(300)]
    assert all(is_well_formed(text) for text in texts)
    assert {len(text) for text in texts} == {8, 9}


@pytest.mark.parametrize("text", ["A123BC77", "X905TM750"])
def test_a_plate_has_the_size_and_contrast_of_one(text: str) -> None:
    plate = draw_plate(text, np.random.default_rng(4), 1.0)
    assert plate.image.shape == (112, 520, 3)
    assert plate.mask.shape == (112, 520)
    assert plate.text == text
    assert plate.image.max() - plate.image.min() > 120


def test_the_same_seed_draws_the_same_plate() -> None:
    first = draw_plate("A123BC77", np.random.default_rng(9), 0.5)
    second = draw_plate("A123BC77", np.random.default_rng(9), 0.5)
    np.testing.assert_array_equal(first.image, second.image)


def test_foreign_plates_carry_no_text() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        plate = draw_foreign(rng, 0.5)
        assert plate.text == ""
        assert plate.image.shape[:2] == plate.mask.shape
