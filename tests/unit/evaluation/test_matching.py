"""Which found plate is which labelled one, by hand."""

from __future__ import annotations

from platemill.evaluation.labels import Label
from platemill.evaluation.matching import Outcome, Seen, Verdict, judge
from platemill.vision.plates import is_well_formed

OURS = "A123BC77"


def seen(
    *box: float, plate: str = OURS, raw: str = "", confidence: float = 0.8, score: float = 0.9
) -> Seen:
    return Seen(plate, raw or plate, confidence, score, box)  # type: ignore[arg-type]


def label(*box: float, plate: str = OURS, note: str = "") -> Label:
    return Label(plate, box, note=note)  # type: ignore[arg-type]


def verdicts(labels: list[Label], found: list[Seen]) -> list[str]:
    return [str(o.verdict) for o in judge("a.jpg", labels, found, is_well_formed)]


def test_each_verdict() -> None:
    box = (0.0, 0.0, 100.0, 20.0)
    assert verdicts([label(*box)], [seen(*box)]) == ["exact"]
    assert verdicts([label(*box)], [seen(*box, plate="A123BC78")]) == ["wrong text"]
    assert verdicts([label(*box)], [seen(*box, plate="", raw="A1")]) == ["refused"]
    assert verdicts([label(*box)], []) == ["missed"]
    assert verdicts([], [seen(*box)]) == ["false box"]
    assert verdicts([label(*box, plate="WA56660")], [seen(*box)]) == ["foreign text"]
    assert verdicts([label(*box, plate="WA56660")], [seen(*box, plate="")]) == ["quiet"]
    assert verdicts([label(*box, plate="")], [seen(*box)]) == ["found"]
    assert verdicts([label(*box, plate="", note="box only")], []) == ["missed"]


def test_what_should_be_published() -> None:
    labels = [
        label(0, 0, 10, 10),
        label(20, 0, 30, 10, plate="WA56660"),
        label(40, 0, 50, 10, plate=""),
    ]
    outcomes = judge("a.jpg", labels, [seen(60, 0, 70, 10)], is_well_formed)
    assert [outcome.wanted for outcome in outcomes] == [OURS, "", None, ""]
    assert all(outcome.file == "a.jpg" for outcome in outcomes)


def test_an_overlap_of_one_half_is_enough() -> None:
    # 100 x 10 against its first 50 columns: 500 / 1000.
    assert verdicts([label(0, 0, 100, 10)], [seen(0, 0, 50, 10)]) == ["exact"]
    assert verdicts([label(0, 0, 100, 10)], [seen(0, 0, 49, 10)]) == ["missed", "false box"]
    assert verdicts([label(0, 0, 100, 10)], [seen(200, 0, 300, 10)]) == ["missed", "false box"]


def test_a_plate_found_twice_is_found_once_and_false_once() -> None:
    wide = seen(0, 0, 100, 10, plate="A123BC78", score=0.7)
    tight = seen(2, 0, 98, 10, score=0.8)
    outcomes = judge("a.jpg", [label(0, 0, 100, 10)], [wide, tight], is_well_formed)
    # The surer box has the label, though the other overlaps it better.
    assert outcomes == [
        Outcome("a.jpg", Verdict.EXACT, label(0, 0, 100, 10), tight, OURS),
        Outcome("a.jpg", Verdict.FALSE_BOX, None, wide, ""),
    ]


def test_a_box_takes_the_free_label_that_it_overlaps_most() -> None:
    near, far = label(0, 0, 100, 10), label(0, 2, 100, 12, plate="K777KK99")
    found = [seen(0, 0, 100, 10, score=0.9), seen(0, 1, 100, 11, plate="K777KK99", score=0.8)]
    assert verdicts([far, near], found) == ["exact", "exact"]


def test_an_ignored_plate_counts_neither_for_nor_against() -> None:
    ignored = label(0, 0, 100, 100, plate="", note="ignore: dirty")
    assert verdicts([ignored], []) == []
    assert verdicts([ignored], [seen(0, 0, 100, 60)]) == []
    # A small box within a large ignored one: its overlap is small, but it lies inside.
    assert verdicts([ignored], [seen(10, 10, 30, 20)]) == []
    assert verdicts([ignored], [seen(90, 10, 110, 20)]) == []
    assert verdicts([ignored], [seen(91, 10, 111, 20)]) == ["false box"]
    # Several boxes may lie on one ignored plate.
    assert verdicts([ignored], [seen(0, 0, 50, 50), seen(50, 50, 100, 100)]) == []


def test_a_counted_plate_comes_before_an_ignored_one() -> None:
    both = [label(0, 0, 100, 10, note="ignore"), label(0, 0, 100, 10)]
    assert verdicts(both, [seen(0, 0, 100, 10)]) == ["exact"]


def test_false_boxes_come_last_and_the_surest_first() -> None:
    found = [seen(0, 0, 9, 9, score=0.5), seen(20, 0, 29, 9, score=0.6)]
    outcomes = judge("a.jpg", [label(50, 50, 60, 60)], found, is_well_formed)
    assert [o.seen.score if o.seen else None for o in outcomes] == [None, 0.6, 0.5]
