"""The figures, computed by hand."""

from __future__ import annotations

import pytest

from platemill.evaluation.labels import Label
from platemill.evaluation.matching import Outcome, Seen, Verdict
from platemill.evaluation.measures import calibration_error, distance, measure

BOX = (0.0, 0.0, 10.0, 5.0)


def outcome(
    verdict: Verdict, wanted: str | None, read: str | None, confidence: float = 0.5, raw: str = ""
) -> Outcome:
    """``read``: the published text, None for a plate that was not found."""
    found = None if read is None else Seen(read, raw or read, confidence, 0.9, BOX)
    label = None if verdict is Verdict.FALSE_BOX else Label(wanted or "", BOX)
    return Outcome("a.jpg", verdict, label, found, wanted)


OUTCOMES = [
    outcome(Verdict.EXACT, "A123BC77", "A123BC77", 0.95),
    outcome(Verdict.EXACT, "A123BC77", "A123BC77", 0.65),
    outcome(Verdict.WRONG_TEXT, "A123BC77", "A123BC177", 0.9),
    outcome(Verdict.WRONG_TEXT, "A123BC77", "A128BC77", 0.4),
    outcome(Verdict.REFUSED, "A123BC77", "", 0.1, raw="A123BC7"),
    outcome(Verdict.MISSED, "A123BC77", None),
    outcome(Verdict.QUIET, "", "", 0.99, raw="WA56660"),
    outcome(Verdict.FOREIGN_TEXT, "", "A566BC60", 0.3),
    outcome(Verdict.FOUND, None, "A123BC77", 0.99),
    outcome(Verdict.MISSED, None, None),
    outcome(Verdict.FALSE_BOX, "", "A111AA11", 0.92),
    outcome(Verdict.FALSE_BOX, "", "", 0.2),
]


def test_all_figures() -> None:
    m = measure(OUTCOMES, photos=4)
    assert (m.photos, m.plates, m.texts, m.exact) == (4, 10, 6, 2)
    assert m.exact_rate == 2 / 6
    # 1 inserted, 1 replaced, 8 refused, 8 missed; of the raw texts 1 instead of 8 refused.
    assert m.char_error_rate == 18 / 48
    assert m.raw_char_error_rate == 11 / 48
    assert m.recall == 8 / 10
    assert m.precision == 8 / 10
    assert (m.false_positives, m.false_positives_per_photo) == (2, 0.5)
    assert (m.published, m.false_texts, m.false_text_rate) == (6, 4, 0.4)
    assert (m.published_sure, m.false_texts_sure) == (3, 2)
    assert (m.wrong_sure_rate, m.wrong_sure_of_plates) == (2 / 3, 0.2)
    assert m.errors == {
        "missed": 2,
        "false box": 2,
        "wrong text": 2,
        "refused": 1,
        "foreign text": 1,
    }
    squares = 0.05**2 + 0.35**2 + 0.9**2 + 0.4**2 + 0.3**2 + 0.92**2
    assert m.brier == pytest.approx(squares / 6)
    # Bins of 1/15: 0.9 and 0.92 share the fourteenth, [0.867, 0.933).
    gaps = 0.05 + 0.35 + (0.9 + 0.92) + 0.4 + 0.3
    assert m.ece == pytest.approx(gaps / 6)


def test_a_rate_of_nothing_is_none() -> None:
    m = measure([], photos=0)
    assert m.exact_rate is m.recall is m.precision is m.ece is m.brier is None
    assert m.char_error_rate is m.false_text_rate is m.wrong_sure_rate is None
    assert m.false_positives_per_photo is None
    assert sum(m.errors.values()) == 0


def test_a_text_that_is_right_is_never_false() -> None:
    same = Outcome(
        "a.jpg",
        Verdict.EXACT,
        Label("WA56660", BOX, "PL"),
        Seen("WA56660", "WA56660", 0.95, 0.9, BOX),
        "",
    )
    m = measure([same], photos=1)
    assert (m.texts, m.exact, m.published, m.false_texts) == (0, 0, 1, 0)


def test_calibration_error() -> None:
    assert calibration_error([]) is None
    # Sure and right: the gap is what is left to one.
    assert calibration_error([(0.99, True)] * 4) == pytest.approx(0.01)
    # Half of what is said with 0.5 is right.
    assert calibration_error([(0.5, True), (0.5, False)]) == pytest.approx(0)
    # Two bins: 3 of 4 right at 0.95, and 1 wrong at 0.2.
    said = [(0.95, True)] * 3 + [(0.95, False), (0.2, False)]
    assert calibration_error(said) == pytest.approx((4 * 0.2 + 0.2) / 5)
    # A bin holds its lower end, the last one also 1.
    assert calibration_error([(1.0, False), (14 / 15, True)]) == pytest.approx((14 / 15) / 2)


@pytest.mark.parametrize(
    ("read", "wanted", "expected"),
    [
        ("", "", 0),
        ("A123BC77", "A123BC77", 0),
        ("", "A123BC77", 8),
        ("A123BC7", "A123BC77", 1),
        ("A123BC177", "A123BC77", 1),
        ("B123BC78", "A123BC77", 2),
        ("123BC77A", "A123BC77", 2),
    ],
)
def test_distance(read: str, wanted: str, expected: int) -> None:
    assert distance(read, wanted) == expected
    assert distance(wanted, read) == expected
