"""Drawn plates of every kind, and their characters."""

import numpy as np
import pytest

from platemill.render import glyphs
from platemill.render.foreign import draw_foreign
from platemill.render.kinds import CAR, DESIGNS, Design, Line, random_design, random_text
from platemill.render.plate import draw_plate, rounded, wear
from platemill.vision.plates import ALPHABET, KINDS, is_well_formed

FACES = [
    pytest.param(design, digits, id=f"{design.name}-{design.ground[0]:.0f}-{digits}")
    for design in DESIGNS
    for digits in design.faces
]


def text_of(design: Design, digits: int, rng: np.random.Generator) -> str:
    """A text of a kind with a region of so many digits."""
    while True:
        text = random_text(rng, design)
        if len(text) == len(design.layout) + digits:
            return text


def line_ends(line: Line, tall: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a line of characters so tall, in millimetres."""
    half = 0.3 * tall
    left, right = min(line.centres) - half, max(line.centres) + half
    return left, line.baseline - tall, right, line.baseline


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


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: f"{d.name}-{d.ground[0]:.0f}")
def test_random_texts_are_well_formed(design: Design) -> None:
    rng = np.random.default_rng(0)
    kinds = tuple(kind for kind in KINDS if kind.name == design.name.replace("1A", "1"))
    assert kinds, "the grammar knows every kind that is drawn"
    texts = [random_text(rng, design) for _ in range(300)]
    assert all(is_well_formed(text, kinds) for text in texts)
    assert {len(text) - len(design.layout) for text in texts} == set(design.faces)


def test_no_region_is_drawn_so_often_that_it_is_learnt_by_heart() -> None:
    rng = np.random.default_rng(1)
    regions = [random_text(rng)[6:] for _ in range(4000)]
    assert len(set(regions)) > 300
    assert max(regions.count(region) for region in set(regions)) < 60


def test_every_kind_is_drawn_and_most_are_ordinary() -> None:
    rng = np.random.default_rng(2)
    drawn = [random_design(rng).name for _ in range(1500)]
    assert set(drawn) == {design.name for design in DESIGNS}
    assert 0.7 < drawn.count("1") / len(drawn) < 0.9


@pytest.mark.parametrize(("design", "digits"), FACES)
def test_a_face_has_room_for_its_text(design: Design, digits: int) -> None:
    face = design.faces[digits]
    assert sum(len(line.centres) for line in face.body) == len(design.layout)
    assert len(face.region.centres) == digits
    region = line_ends(face.region, face.region.digit)
    assert region[0] > face.box[0]
    assert region[1] >= face.box[1]
    assert region[3] < face.country[1] - face.country[2]
    written = 0
    for line in face.body:
        part = design.layout[written : written + len(line.centres)]
        written += len(part)
        left, top, right, bottom = line_ends(line, line.digit if "D" in part else line.letter)
        assert 0 < left < right < face.width
        assert 0 < top < bottom < face.height
    for line in (*face.body, face.region):
        assert (np.diff(line.centres) > 0.6 * min(line.digit, line.letter)).all()


@pytest.mark.parametrize(("design", "digits"), FACES)
def test_a_plate_has_the_size_and_contrast_of_its_kind(design: Design, digits: int) -> None:
    rng = np.random.default_rng(4)
    face = design.faces[digits]
    text = text_of(design, digits, rng)
    plate = draw_plate(text, rng, 1.0, design)
    assert plate.image.shape == (face.height, face.width, 3)
    assert plate.mask.shape == (face.height, face.width)
    assert plate.text == text
    assert plate.two_lines == (face.height > 150)
    assert plate.image.max() - plate.image.min() > 120


@pytest.mark.parametrize(("design", "digits"), FACES)
def test_every_character_is_written_at_its_place(design: Design, digits: int) -> None:
    """Texts that differ in one character differ there, and nowhere else."""
    face = design.faces[digits]
    text = text_of(design, digits, np.random.default_rng(5))
    places = [(x, line) for line in (*face.body, face.region) for x in line.centres]
    for index, (x, line) in enumerate(places):
        changed = ("1" if text[index] != "1" else "4") if text[index].isdigit() else "T"
        changed = "H" if changed == text[index] else changed
        other = text[:index] + changed + text[index + 1 :]
        one, two = (
            draw_plate(t, np.random.default_rng(7), 1.0, design).image for t in (text, other)
        )
        rows, columns = np.nonzero(np.abs(one - two).max(axis=2) > 25)
        tall = max(line.digit, line.letter)
        assert len(rows) > 100
        assert abs(columns - x).max() < 0.6 * tall
        assert rows.min() > line.baseline - tall - 8
        assert rows.max() < line.baseline + 8


def test_a_text_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        draw_plate("A123BC7", np.random.default_rng(0), 1.0, CAR)


def test_the_same_seed_draws_the_same_plate() -> None:
    first = draw_plate("A123BC77", np.random.default_rng(9), 0.5)
    second = draw_plate("A123BC77", np.random.default_rng(9), 0.5)
    np.testing.assert_array_equal(first.image, second.image)


def test_dirt_leaves_the_plate_in_the_range_of_light() -> None:
    rng = np.random.default_rng(3)
    dirty = 0
    for _ in range(30):
        image = np.full((68, 312, 3), 200, np.float32)
        wear(image, rng)
        assert image.min() >= 0
        assert image.max() <= 255
        dirty += bool((image != 200).any())
    assert 5 < dirty < 25


def test_a_rounded_rectangle_lacks_its_corners_only() -> None:
    drawn = rounded(40, 90, 2.0, 10.0)
    assert drawn[20, 45] == 1
    assert drawn[20, 3] == 1
    assert drawn[0].max() < 0.05
    assert drawn[3, 3] < 0.05


def test_foreign_plates_carry_no_text() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        plate = draw_foreign(rng, 0.5)
        assert plate.text == ""
        assert plate.image.shape[:2] == plate.mask.shape
