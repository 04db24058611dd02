"""The grammar of number plates: which texts are whole plates.

Source of the Russian kinds: GOST R 50577-2018 (kinds and layouts of registration plates) and
the regional codes in use. Letters are the twelve Cyrillic ones that have a Latin look-alike,
written in Latin.

A *layout* is written with `L` (a letter), `D` (a digit), `A` (either) and, at its end, `R` (a
Russian region of two or three digits). Only `PUBLISHED_KINDS` are read by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

DIGITS = "0123456789"
LETTERS = "ABEKMHOPCTYX"
ALPHABET = DIGITS + LETTERS
"""The built-in reader's classes in order; the CTC blank follows as class `len(ALPHABET)`."""

REGION_FIRST_DIGITS = "123579"
"""First digits that three-digit regional codes are issued with."""

REGION_DIGITS = (2, 3)


@dataclass(frozen=True)
class Pattern:
    """Texts of one length: the characters allowed at each place.

    region: how many of the last places are a Russian region; 0 for a plate without one. A plate
    with a region has a serial number other than zero.
    """

    places: tuple[str, ...]
    region: int = 0


Grammar = tuple[Pattern, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of Russian plate: its name in the standard and its layout before the region."""

    name: str
    layout: str
    region_digits: tuple[int, ...] = REGION_DIGITS

    @cached_property
    def patterns(self) -> Grammar:
        """The kind's texts, a pattern for each length of the region."""
        return patterns_of(self.layout + "R", ALPHABET, self.region_digits)


CAR = Kind("1", "LDDDLL")
TAXI_AND_BUS = Kind("1B", "LLDDD")
TRAILER = Kind("2", "LLDDDD")
TRACTOR = Kind("3", "DDDDLL")
MOTORCYCLE = Kind("4", "DDDDLL")
ARMY = Kind("5", "DDDDLL", (2,))
POLICE = Kind("20", "LDDDD")

KINDS = (CAR, TAXI_AND_BUS, TRAILER, TRACTOR, MOTORCYCLE, ARMY, POLICE)
"""Every kind that is described here, whether it is read by default or not."""

PUBLISHED_KINDS = (CAR,)
"""The kinds whose texts are published: the ordinary plate of cars (also the square 1A)."""


def patterns_of(
    layout: str, alphabet: str, region_digits: Sequence[int] = REGION_DIGITS
) -> Grammar:
    """The texts of a layout over an alphabet.

    Args:
        layout: of `L`, `D`, `A` and, at the end only, `R`.
        alphabet: its digits are what `D` stands for, the rest of it what `L` stands for.
        region_digits: lengths of a region.

    Raises:
        ValueError: the layout is none; the text says why.
    """
    body = layout.removesuffix("R")
    if not body or set(body) - set("LDA"):
        raise ValueError(
            f"{layout!r} is no layout: write L for a letter, D for a digit, A for either and, at "
            "the end only, R for a Russian region, 'LDDDLLR' say"
        )
    digits = "".join(c for c in alphabet if c in DIGITS)
    letters = "".join(c for c in alphabet if c not in DIGITS)
    sets = {"L": letters, "D": digits, "A": alphabet}
    places = tuple(sets[place] for place in body)
    if not all(places):
        raise ValueError(f"layout {layout!r} asks for characters that the alphabet lacks")
    if body == layout:
        return (Pattern(places),)
    if set(DIGITS) - set(alphabet):
        raise ValueError(f"layout {layout!r} has a region, and the alphabet lacks digits")
    return tuple(Pattern(places + _region(length), length) for length in region_digits)


def _region(length: int) -> tuple[str, ...]:
    return (DIGITS,) * 2 if length == 2 else (REGION_FIRST_DIGITS, DIGITS, DIGITS)


def grammar_of(kinds: Sequence[Kind]) -> Grammar:
    """The texts of several kinds together."""
    return tuple(pattern for kind in kinds for pattern in kind.patterns)


def is_region(text: str) -> bool:
    """Whether `text` can be a regional code: `01` to `99`, or three digits ending in one."""
    if not all(character in DIGITS for character in text):
        return False
    if len(text) == 3:
        return text[0] in REGION_FIRST_DIGITS and text[1:] != "00"
    return len(text) == 2 and text != "00"


def matches(text: str, pattern: Pattern) -> bool:
    """Whether `text` fills every place of a pattern, with a serial and a region that exist."""
    if len(text) != len(pattern.places):
        return False
    if not all(c in place for c, place in zip(text, pattern.places, strict=True)):
        return False
    if not pattern.region:
        return True
    serial = [c for c in text[: -pattern.region] if c in DIGITS]
    return any(digit != "0" for digit in serial) and is_region(text[-pattern.region :])


def is_plate(text: str, grammar: Grammar) -> bool:
    """Whether `text` is a whole plate of a grammar."""
    return any(matches(text, pattern) for pattern in grammar)


def is_well_formed(text: str, kinds: tuple[Kind, ...] = PUBLISHED_KINDS) -> bool:
    """Whether `text` is a whole plate of one of `kinds`, such as `A123BC77`.

    >>> is_well_formed("A123BC77"), is_well_formed("A000BC77"), is_well_formed("A123BC00")
    (True, False, False)
    """
    return any(is_plate(text, kind.patterns) for kind in kinds)
