"""The grammar of Russian number plates.

Source: GOST R 50577-2018 (kinds and layouts of registration plates) and the regional codes
in use. Letters are the twelve Cyrillic ones that have a Latin look-alike, written in Latin.

A *kind* is a layout written with `L` (a letter), `D` (a digit) and `R` (a region of two or
three digits, always at the end). Only the kinds in `PUBLISHED_KINDS` are read by default.
"""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = "0123456789"
LETTERS = "ABEKMHOPCTYX"
ALPHABET = DIGITS + LETTERS
"""The reader's classes in order; the CTC blank follows as class `len(ALPHABET)`."""

REGION_FIRST_DIGITS = "123579"
"""First digits that three-digit regional codes are issued with."""


@dataclass(frozen=True)
class Kind:
    """One kind of plate: its name in the standard and its layout before the region."""

    name: str
    layout: str
    region_digits: tuple[int, ...] = (2, 3)


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


def is_region(text: str) -> bool:
    """Whether `text` can be a regional code: `01` to `99`, or three digits ending in one."""
    if not all(character in DIGITS for character in text):
        return False
    if len(text) == 3:
        return text[0] in REGION_FIRST_DIGITS and text[1:] != "00"
    return len(text) == 2 and text != "00"


def matches(text: str, kind: Kind) -> bool:
    """Whether `text` has the layout of `kind`, a serial other than zero and a region."""
    body, region = text[: len(kind.layout)], text[len(kind.layout) :]
    if len(body) < len(kind.layout) or len(region) not in kind.region_digits:
        return False
    for character, place in zip(body, kind.layout, strict=True):
        if character not in (LETTERS if place == "L" else DIGITS):
            return False
    serial = [character for character in body if character in DIGITS]
    return any(digit != "0" for digit in serial) and is_region(region)


def is_well_formed(text: str, kinds: tuple[Kind, ...] = PUBLISHED_KINDS) -> bool:
    """Whether `text` is a whole plate of one of `kinds`, such as `A123BC77`.

    >>> is_well_formed("A123BC77"), is_well_formed("A000BC77"), is_well_formed("A123BC00")
    (True, False, False)
    """
    return any(matches(text, kind) for kind in kinds)
