from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platemill.archive.layout import Layout, LayoutMatch
from platemill.archive.times import to_datetime
from platemill.errors import ConfigurationError


def read(template: str, path: str) -> tuple[str | None, datetime | None] | None:
    found = Layout(template).match(path)
    if found is None:
        return None
    return found.camera, None if found.captured_at is None else to_datetime(found.captured_at)


@pytest.mark.parametrize(
    ("template", "path", "camera", "time"),
    [
        (
            "{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg",
            "deep/down/gate-2/2025/03/01/070509.jpg",
            "gate-2",
            datetime(2025, 3, 1, 7, 5, 9, tzinfo=UTC),
        ),
        (
            "{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg",
            "gate-2/2025/03/01/070509.PNG",
            "gate-2",
            datetime(2025, 3, 1, 7, 5, 9, tzinfo=UTC),
        ),
        (
            "{captured_at:%Y%m%d}/{camera}_{lane}_{captured_at:%H%M%S%f}",
            "20250301/cam 7_left_070509123.jpeg",
            "cam 7",
            datetime(2025, 3, 1, 7, 5, 9, 123000, tzinfo=UTC),
        ),
        (
            "{camera}/{captured_at:%Y-%m-%d}/{n}",
            "a/2025-3-1/xx.jpg",
            "a",
            datetime(2025, 3, 1, tzinfo=UTC),
        ),
        (
            "{captured_at:%y%j}/{camera}",
            "25060/kéhä.webp",
            "kéhä",
            datetime(2025, 3, 1, tzinfo=UTC),
        ),
        (
            "{camera}/{captured_at:%Y%m%dT%H%M%S%z}.jpg",
            "c/20250301T003000+0300.jpg",
            "c",
            datetime(2025, 2, 28, 21, 30, tzinfo=UTC),
        ),
        (
            "{captured_at:%Y/%m/%d}/{camera}/{captured_at:%Y%m%d%H%M}.jpg",
            "2025/03/01/c/202503010705.jpg",
            "c",
            datetime(2025, 3, 1, 7, 5, tzinfo=UTC),
        ),
        ("{camera}/{any}", "x/y/z.jpg", "y", None),
        (
            "{captured_at:%Y%m%d}/{n}",
            "camera/20250301/1.jpg",
            None,
            datetime(2025, 3, 1, tzinfo=UTC),
        ),
    ],
)
def test_reads(template: str, path: str, camera: str | None, time: datetime | None) -> None:
    assert read(template, path) == (camera, time)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg", "2025/03/01/070509.jpg"),
        ("{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg", "c/2025/03/01/0705.jpg"),
        ("{captured_at:%Y/%m/%d}/{camera}/{captured_at:%Y%m%d}.jpg", "2025/03/01/c/20250302.jpg"),
        ("{camera}/{captured_at:%Y%m%d}.jpg", "c/٢٠٢٥٠٣٠١.jpg"),
        ("a+b/{camera}", "aab/c.jpg"),
    ],
)
def test_another_form_is_no_match(template: str, path: str) -> None:
    assert Layout(template).match(path) is None


@pytest.mark.parametrize("wrong", ["2025/13/01", "2025/02/30", "0000/01/01", "1969/12/31"])
def test_an_impossible_date_leaves_the_camera(wrong: str) -> None:
    layout = Layout("{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg")
    assert layout.match(f"c/{wrong}/000000.jpg") == LayoutMatch("c", None)


def test_day_366_of_a_common_year_is_no_day() -> None:
    layout = Layout("{camera}/{captured_at:%Y%j}")
    assert layout.match("c/2025366.jpg") == LayoutMatch("c", None)
    assert layout.match("c/2024366.jpg") != LayoutMatch("c", None)


@pytest.mark.parametrize(
    ("template", "position", "problem"),
    [
        ("", 1, "empty"),
        (".jpg", 1, "empty"),
        ("/{camera}", 1, "slash"),
        ("{camera", 1, "not closed"),
        ("ab}c", 3, "closes nothing"),
        ("{camera}/{}.jpg", 11, "name in braces"),
        ("{camera:%Y}", 8, "only captured_at"),
        ("{captured_at}", 2, "needs a format"),
        ("{captured_at:%Y%m%Q}", 18, "%Q is not known"),
        ("{captured_at:%Y%m%d%}", 20, "% is not known"),
        ("{camera}/{captured_at:%m%d}", 11, "no year"),
        ("{camera}/{captured_at:%Y%m}", 11, "no day"),
    ],
)
def test_a_wrong_template_says_where(template: str, position: int, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Layout(template)
    text = str(caught.value)
    assert f"at character {position}:" in text
    assert problem in text
    _, shown, caret, example = text.split("\n")
    assert shown == f"  {template}"
    assert caret.index("^") - 2 == position - 1
    assert Layout(example.removeprefix("An example: ")).match("a/2025/03/01/000000.jpg")
