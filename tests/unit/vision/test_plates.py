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


@pytest.mark.parametrize(
    ("layout", "good", "bad"),
    [
        ("LLDDLL", ["AB12CD", "ZZ00ZZ"], ["AB12C", "1B12CD", "AB12CDE"]),
        ("LDDDLLR", ["A123BC77", "A123BC777"], ["A123BC", "A000BC77", "A123BC00"]),
        ("AAA", ["A1Z", "000"], ["a1z", "AA"]),
    ],
)
def test_layouts_of_one_s_own(layout: str, good: list[str], bad: list[str]) -> None:
    grammar = plates.patterns_of(layout, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert all(plates.is_plate(text, grammar) for text in good)
    assert not any(plates.is_plate(text, grammar) for text in bad)


@pytest.mark.parametrize("layout", ["", "R", "LLX", "LRL", "ll"])
def test_what_is_no_layout_is_refused(layout: str) -> None:
    with pytest.raises(ValueError, match="is no layout"):
        plates.patterns_of(layout, plates.ALPHABET)


@pytest.mark.parametrize(("layout", "alphabet"), [("LD", "ABC"), ("LD", "123"), ("LR", "A012")])
def test_a_layout_needs_its_characters(layout: str, alphabet: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        plates.patterns_of(layout, alphabet)
