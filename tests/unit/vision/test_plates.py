"""The grammar of plates."""

import pytest

from platemill.vision import plates


@pytest.mark.parametrize("text", ["A123BC77", "X001EP777", "O100OO199", "M555MM09", "T020KB750"])
def test_whole_plates_are_well_formed(text: str) -> None:
    assert plates.is_well_formed(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A123BC",
        "A123BC7",
        "A000BC77",
        "A123BC00",
        "A123BC000",
        "A123BC100",
        "A123BC477",
        "A123BC1777",
        "D123BC77",
        "AB12377",
        "A12BC377",
        "a123bc77",
        "А123ВС77",  # Cyrillic letters are not in the alphabet
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not plates.is_well_formed(text)


def test_other_kinds_are_read_when_asked_for() -> None:
    assert not plates.is_well_formed("AB12377")
    assert plates.is_well_formed("AB12377", plates.KINDS)
    assert plates.is_well_formed("1234AB77", (plates.MOTORCYCLE,))
    assert not plates.is_well_formed("1234AB777", (plates.ARMY,))


def test_the_alphabet_is_the_contract() -> None:
    assert plates.ALPHABET == "0123456789ABEKMHOPCTYX"
