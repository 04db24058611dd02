"""The faces of Russian plates: sizes, places of the characters and colours, as a table.

After GOST R 50577 (2018 and before); millimetres from the face's top left corner. The
renderer moves and stretches everything a little, as stamping and mounting do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from platemill.vision.plates import LETTERS, REGION_FIRST_DIGITS

TALL, LOW = 76.0, 58.0
"""Heights of the digits and of the letters of a body."""

Tone = tuple[float, float, float]


@dataclass(frozen=True)
class Line:
    """Characters on one baseline: their centres, the baseline, and the heights they have."""

    centres: tuple[float, ...]
    baseline: float
    digit: float = TALL
    letter: float = LOW


@dataclass(frozen=True)
class Face:
    """One layout of a plate.

    width, height: of the plate.
    body: the lines of the text before the region, in reading order.
    region: the region's line.
    box: x and y from which lines run to the right edge and to the lower edge around the
        region; y is 0 where the region is as high as the plate.
    country: centre, baseline and height of `RUS`, with the flag to its right.
    bolts: where the plate is usually screwed on.
    """

    width: float
    height: float
    body: tuple[Line, ...]
    region: Line
    box: tuple[float, float]
    country: tuple[float, float, float]
    bolts: tuple[tuple[float, float], ...]

    @property
    def two_lines(self) -> bool:
        """Whether the text is written in two lines."""
        return len(self.body) > 1


@dataclass(frozen=True)
class Design:
    """A kind of plate as it is drawn.

    name: of the kind in the standard.
    layout: as in `platemill.vision.plates.Kind`.
    faces: by the number of the region's digits.
    ground, ink: BGR.
    share: how often it is drawn, relative to the others.
    """

    name: str
    layout: str
    faces: dict[int, Face]
    ground: Tone
    ink: Tone
    share: float

    def face(self, text: str) -> Face:
        """The face for a text; KeyError if the region has a number of digits it cannot have."""
        return self.faces[len(text) - len(self.layout)]


_WHITE, _BLACK = (236.0, 238.0, 238.0), (28.0, 26.0, 26.0)
_YELLOW, _BLUE = (40.0, 190.0, 250.0), (165.0, 80.0, 20.0)


def _long(two: tuple[float, ...], three: tuple[float, ...]) -> dict[int, Face]:
    """Faces of 520 x 112 mm with a body of these centres before two and three region digits."""
    bolts = ((16.0, 56.0), (504.0, 56.0))
    return {
        2: Face(
            520, 112, (Line(two, 95),), Line((422, 464), 73, LOW), (396, 0), (429, 96, 17), bolts
        ),
        3: Face(
            520, 112, (Line(three, 95),), Line((388, 429, 470), 73, LOW), (364, 0), (429, 96, 17),
            bolts,
        ),
    }  # fmt: skip


_CAR = _long((61, 126, 182, 238, 303, 358), (53, 107, 162, 217, 273, 328))
_SQUARE_BOLTS = ((20.0, 85.0), (270.0, 85.0))
_SQUARE = {
    2: Face(
        290, 170, (Line((50, 116, 173, 230), 86), Line((42, 95), 156)),
        Line((182, 226), 139, 46), (134, 90), (184, 157, 13), _SQUARE_BOLTS,
    ),
    3: Face(
        290, 170, (Line((50, 116, 173, 230), 86), Line((40, 90), 156)),
        Line((162, 200, 239), 139, 46), (126, 90), (184, 157, 13), _SQUARE_BOLTS,
    ),
}  # fmt: skip
_MOTORCYCLE = {
    2: Face(
        245, 185, (Line((44, 97, 150, 203), 91), Line((38, 86), 168)),
        Line((154, 194), 150, 48), (118, 100), (152, 169, 14), ((50, 14), (195, 14)),
    ),
    3: Face(
        245, 185, (Line((44, 97, 150, 203), 91), Line((35, 80), 168)),
        Line((135, 169, 204), 150, 46), (106, 100), (148, 169, 14), ((50, 14), (195, 14)),
    ),
}  # fmt: skip
_TRACTOR = {
    2: Face(
        288, 206, (Line((60, 116, 172, 228), 98), Line((52, 108), 188)),
        Line((186, 228), 168, 52), (146, 112), (184, 189, 15), ((60, 14), (228, 14)),
    ),
    3: Face(
        288, 206, (Line((60, 116, 172, 228), 98), Line((46, 98), 188)),
        Line((162, 201, 240), 168, 52), (128, 112), (184, 189, 15), ((60, 14), (228, 14)),
    ),
}  # fmt: skip

CAR = Design("1", "LDDDLL", _CAR, _WHITE, _BLACK, 78)

DESIGNS = (
    CAR,
    Design("1", "LDDDLL", _CAR, _YELLOW, _BLACK, 2),
    Design("1A", "LDDDLL", _SQUARE, _WHITE, _BLACK, 6),
    Design("1B", "LLDDD", _long((66, 121, 204, 263, 322), (58, 110, 186, 243, 300)),
           _YELLOW, _BLACK, 3),
    Design("2", "LLDDDD", _long((57, 108, 178, 234, 290, 346), (50, 98, 160, 213, 266, 319)),
           _WHITE, _BLACK, 2),
    Design("3", "DDDDLL", _TRACTOR, _WHITE, _BLACK, 2),
    Design("4", "DDDDLL", _MOTORCYCLE, _WHITE, _BLACK, 2),
    Design("5", "DDDDLL", {2: _long((52, 107, 162, 217, 289, 344), ())[2]},
           _BLACK, _WHITE, 2),
    Design("20", "LDDDD", _long((60, 138, 198, 258, 318), (52, 124, 181, 238, 295)),
           _BLUE, _WHITE, 3),
)  # fmt: skip
"""Every kind that is drawn."""

_COMMON_REGIONS = (
    "77", "97", "99", "177", "197", "199", "777", "799", "750", "150", "190", "50", "90",
    "78", "98", "178", "198", "47", "147", "16", "116", "716", "23", "93", "123", "61", "161",
    "02", "102", "702", "63", "163", "763", "66", "96", "196", "74", "174", "52", "152", "54",
    "154", "24", "124", "59", "159", "34", "134", "36", "136", "64", "164", "42", "142", "38",
    "138", "25", "125", "26", "126", "82", "05", "95", "186", "86", "72", "55", "22", "39",
)  # fmt: skip


def random_design(rng: np.random.Generator) -> Design:
    """Draw a kind by its share."""
    shares = np.array([design.share for design in DESIGNS])
    return DESIGNS[rng.choice(len(DESIGNS), p=shares / shares.sum())]


def random_text(rng: np.random.Generator, design: Design = CAR) -> str:
    """Draw a well-formed text of a kind: letters and serial evenly, the region mostly so."""
    letters = [LETTERS[i] for i in rng.integers(0, len(LETTERS), design.layout.count("L"))]
    if rng.random() < 0.08:
        letters = [letters[0]] * len(letters)
    count = design.layout.count("D")
    chance = rng.random()
    if chance < 0.12:
        serial = str(rng.integers(1, 10)) * count
    elif chance < 0.2:
        serial = str(rng.integers(1, 10)).zfill(count)
    else:
        serial = str(rng.integers(1, 10**count)).zfill(count)
    shown = {"L": iter(letters), "D": iter(serial)}
    return "".join(next(shown[place]) for place in design.layout) + _region(rng, design)


def _region(rng: np.random.Generator, design: Design) -> str:
    if rng.random() < 0.3:
        region = _COMMON_REGIONS[rng.integers(0, len(_COMMON_REGIONS))]
        if len(region) in design.faces:
            return region
    region = f"{rng.integers(1, 100):02d}"
    if 3 in design.faces and rng.random() < 0.5:
        # Regions above 299 are rare but for the sevens and nines.
        first = "179"[rng.integers(0, 3)] if rng.random() < 0.7 else ""
        first = first or REGION_FIRST_DIGITS[rng.integers(0, len(REGION_FIRST_DIGITS))]
        region = first + region
    return region
