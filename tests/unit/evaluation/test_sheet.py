"""The page of errors lists each of them, and is one file that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from platemill.evaluation.labels import Label
from platemill.evaluation.matching import Seen, judge
from platemill.evaluation.measures import measure
from platemill.evaluation.photos import Evaluation, LabelledPhotos
from platemill.evaluation.sheet import write_sheet
from platemill.vision.plates import is_well_formed

ODD_NAME = "<b>&'\".png"
UNCLOSED = {"meta", "input", "img", "image", "rect"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps where pictures come from and what is written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in UNCLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in UNCLOSED:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def written(folder: Path, photos: dict[str, tuple[list[Label], list[Seen]]]) -> str:
    outcomes = []
    for name, (labels, seen) in photos.items():
        cv2.imwrite(str(folder / name), np.full((60, 200, 3), 120, np.uint8))
        outcomes += judge(name, labels, seen, is_well_formed)
    labelled = LabelledPhotos(folder, {n: labels for n, (labels, _) in photos.items()}, {}, "v1")
    found = Evaluation(measure(outcomes, len(photos)), {"total": 12.0}, outcomes)
    write_sheet(folder / "deep" / "sheet.html", labelled, found, 1_000_000)
    return (folder / "deep" / "sheet.html").read_text()


def test_every_error_is_there_and_nothing_else(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        {
            ODD_NAME: (
                [
                    Label("A123BC77", (10, 10, 60, 22), "RU", "<script>alert(1)</script>"),
                    Label("K777KK99", (80, 10, 130, 22)),
                    Label("", (150, 10, 190, 22), "", "ignore: dirty"),
                ],
                [
                    Seen("A128BC77", "A128BC7", 0.4321, 0.8765, (10, 10, 60, 22)),
                    # Partly outside of the photo.
                    Seen("", "<i>", 0.1, 0.6, (-20, 40, 30, 80)),
                ],
            ),
            "right.png": (
                [Label("A123BC77", (10, 10, 60, 22))],
                [Seen("A123BC77", "A123BC77", 0.99, 0.9, (10, 10, 60, 22))],
            ),
            "foreign.png": (
                [
                    Label("WA56660", (10, 10, 60, 22), "PL"),
                    Label("A123BC77", (80, 10, 130, 22)),
                ],
                [
                    Seen("A566BC60", "A566BC60", 0.3, 0.9, (10, 10, 60, 22)),
                    Seen("", "A123B", 0.2, 0.9, (80, 10, 130, 22)),
                ],
            ),
        },
    )
    page = Page(text)
    kinds = re.findall(r'class="error ([a-z-]+)"', text)
    assert kinds == ["wrong-text", "missed", "false-box", "foreign-text", "refused"]
    assert re.findall(r'<article class="card ([a-z -]+)"', text) == [
        "false-box missed wrong-text",
        "foreign-text refused",
    ]
    words = "".join(page.words)
    assert ODD_NAME in words
    assert "<script>alert(1)</script>" in words
    assert "<i>" in words
    assert all(word in words for word in ("A128BC77", "A128BC7", "0.432", "0.876", "K777KK99"))
    assert "right.png" not in words
    assert text.count('class="ignored"') == 2, "the legend's and the photo's"
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)


def test_what_differs_is_marked(tmp_path: Path) -> None:
    label, box = Label("A123BC197", (10, 10, 60, 22)), (10, 10, 60, 22)
    text = written(tmp_path, {"a.png": ([label], [Seen("A128BC17", "", 0.5, 0.9, box)])})
    assert "<code>A12<mark>3</mark>BC1<mark>9</mark>7</code>" in text
    assert "<code>A12<mark>8</mark>BC17</code>" in text


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (199, 59, 200, 60), (-9, -9, 0, 0), (0, 0, 200, 60)])
def test_boxes_at_the_photo_s_edges_are_shown(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    text = written(tmp_path, {"a.png": ([], [Seen("", "", 0.1, 0.5, box)])})
    assert text.count('class="error false-box"') == 1
    Page(text)


def test_without_errors_it_says_so(tmp_path: Path) -> None:
    text = written(tmp_path, {"a.png": ([], [])})
    assert "Not one error" in text
    Page(text)
