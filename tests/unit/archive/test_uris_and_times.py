from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from platemill.archive.times import capture_time, file_time, parse_iso, to_datetime, utc_day
from platemill.archive.uris import Location, file_uri, member_uri, parse_uri, readable


@pytest.mark.parametrize(
    "path",
    [
        "/a/b.jpg",
        "/a b/50%#?.jpg",
        "/ünïcödé/車.jpg",
        "/line\nbreak/::.jpg",
        os.fsdecode(b"/\xff.jpg"),
    ],
)
def test_a_path_and_its_uri(path: str) -> None:
    uri = file_uri(path)
    assert uri.isascii()
    assert "::" not in uri
    assert "\n" not in uri
    assert parse_uri(uri) == Location("file", path)
    inner = member_uri("tar", f"cam::1{path}", uri)
    assert inner.count("::") == 1
    assert parse_uri(inner) == Location("tar", path, f"cam::1{path}")
    assert parse_uri(member_uri("zip", "x", uri)) == Location("zip", path, "x")


def test_a_plain_uri_is_the_standard_librarys() -> None:
    path = Path("/a b/ü%.jpg")
    assert file_uri(str(path)) == path.as_uri()


@pytest.mark.parametrize("uri", ["", "/a.jpg", "s3://b/a.jpg", "ftp://a::file:///b", "tar://a"])
def test_no_image_uri(uri: str) -> None:
    with pytest.raises(ValueError, match="not an image's URI"):
        parse_uri(uri)


def test_names_that_are_not_utf8_can_be_stored() -> None:
    assert readable(os.fsdecode(b"caf\xe9")) == "caf\N{REPLACEMENT CHARACTER}"
    assert readable("café") == "café"


def test_iso_times() -> None:
    def read(text: str) -> datetime | None:
        value = parse_iso(text)
        return None if value is None else to_datetime(value)

    assert read("2026-03-01T07:05:00+03:00") == datetime(2026, 3, 1, 4, 5, tzinfo=UTC)
    assert read(" 2026-03-01 07:05:00.25 ") == datetime(2026, 3, 1, 7, 5, 0, 250000, tzinfo=UTC)
    assert read("2026-03-01T07:05:00Z") == datetime(2026, 3, 1, 7, 5, tzinfo=UTC)
    assert read("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    for wrong in ("", "soon", "2026-13-01", "1969-12-31T23:59:59", "2100-01-01", "0001-01-01"):
        assert read(wrong) is None, wrong


def test_the_day_is_the_utc_day() -> None:
    last = parse_iso("2026-03-01T01:59:59.999999+02:00")
    first = parse_iso("2026-03-01T02:00:00+02:00")
    assert last is not None
    assert first == last + 1
    assert (utc_day(last), utc_day(first)) == (date(2026, 2, 28), date(2026, 3, 1))
    assert utc_day(0) == date(1970, 1, 1)


def test_absurd_file_times_are_held_in_bounds() -> None:
    before_1970 = file_time(-86_400 * 10**9)
    assert to_datetime(before_1970) == datetime(1969, 12, 31, tzinfo=UTC)
    assert to_datetime(capture_time(before_1970)) == datetime(1970, 1, 1, tzinfo=UTC)
    for absurd, year in ((2**80, 2199), (-(2**80), 1900)):
        assert to_datetime(file_time(absurd)).year == year
    assert to_datetime(capture_time(file_time(2**80))).year == 2099
