from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from photo_files import encoded, pixels, with_exif
from PIL import Image

from platemill.archive.exif import exif_time
from platemill.archive.times import to_datetime


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_time_a_camera_wrote(form: str) -> None:
    data = with_exif(form, taken="2026:03:01 07:05:09", offset="+03:00", subseconds="25")
    time = exif_time(data)
    assert time is not None
    assert to_datetime(time) == datetime(2026, 3, 1, 4, 5, 9, 250000, tzinfo=UTC)


def test_the_time_in_a_tiff() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:03:01 07:05:09"
    tiff = exif.tobytes().removeprefix(b"Exif\0\0")
    assert tiff[:2] in (b"II", b"MM")
    assert exif_time(tiff) is not None


def test_without_an_offset_it_is_utc() -> None:
    time = exif_time(with_exif(taken="2026:03:01 07:05:09"))
    assert time is not None
    assert to_datetime(time) == datetime(2026, 3, 1, 7, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2026:13:01 00:00:00", "now", ""]
)
def test_what_is_no_time(taken: str) -> None:
    assert exif_time(with_exif(taken=taken)) is None


def test_photos_without_a_time() -> None:
    assert exif_time(with_exif(orientation=6)) is None
    for extension in (".jpg", ".png", ".webp", ".tiff", ".bmp"):
        assert exif_time(encoded(extension)) is None
    assert exif_time(b"") is None
    assert exif_time(b"no image at all") is None


def test_a_cut_block_is_no_time() -> None:
    data = with_exif(taken="2026:03:01 07:05:09")
    at = data.index(b"2026:03:01")
    assert exif_time(data[: at + 5]) is None
    assert exif_time(data[: at + 20]) is not None


def test_big_endian_blocks() -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif.get_ifd(0x8769)[0x9003] = "2026:03:01 07:05:09"
    out = io.BytesIO()
    Image.fromarray(pixels()).save(out, "JPEG", exif=exif.tobytes())
    assert b"MM\0*" in out.getvalue()
    assert exif_time(out.getvalue()) is not None
