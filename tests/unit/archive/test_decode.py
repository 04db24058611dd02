from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_files import encoded, pixels, png_bomb, png_chunk, with_exif
from PIL import Image

from platemill.archive.animation import as_still
from platemill.archive.decode import decode_image
from platemill.archive.headers import read_header
from platemill.errors import ImageRejected

MANY = 10**8


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels()[:, :, ::-1].copy()).convert(mode).save(out, form, **options)
    return out.getvalue()


def deep(extension: str) -> bytes:
    ok, data = cv2.imencode(extension, pixels().astype(np.uint16) * 257)
    assert ok
    return data.tobytes()


GOOD = {
    "plain.jpg": encoded(".jpg"),
    "progressive.jpg": saved("JPEG", progressive=True),
    "restart.jpg": saved("JPEG", restart_marker_blocks=2),
    "cmyk.jpg": saved("JPEG", "CMYK"),
    "grey.jpg": saved("JPEG", "L"),
    "tail.jpg": encoded(".jpg") + b"what a camera left behind" * 9,
    "plain.png": encoded(".png"),
    "alpha.png": saved("PNG", "RGBA"),
    "palette.png": saved("PNG", "P"),
    "one_bit.png": saved("PNG", "1"),
    "deep.png": deep(".png"),
    "deep.tiff": deep(".tiff"),
    "grey.tif": saved("TIFF", "L"),
    "cmyk.tif": saved("TIFF", "CMYK"),
    "packed.tif": saved("TIFF", compression="tiff_lzw"),
    "plain.bmp": encoded(".bmp"),
    "palette.bmp": saved("BMP", "P"),
    "lossy.webp": saved("WEBP", quality=80),
    "lossless.webp": saved("WEBP", lossless=True),
    "alpha.webp": saved("WEBP", "RGBA"),
    "one_pixel.jpg": encoded(".jpg", height=1, width=1),
    "one_pixel.png": encoded(".png", height=1, width=1),
    **{f"turned{n}.jpg": with_exif(orientation=n) for n in range(1, 9)},
    "turned.png": with_exif("PNG", orientation=6),
    "turned.webp": with_exif("WEBP", orientation=6),
}


@pytest.mark.parametrize("name", GOOD)
def test_equals_imread(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(GOOD[name])
    expected = cv2.imread(str(path))
    image = decode_image(GOOD[name], MANY)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.ndim == 3
    assert image.shape[2] == 3
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("name", GOOD)
def test_the_header_says_what_pillow_says(name: str) -> None:
    header = read_header(GOOD[name])
    with Image.open(io.BytesIO(GOOD[name])) as image:
        assert header.kind.upper() == image.format
        assert (header.width, header.height) == image.size


def test_a_turned_photo_is_shown_upright() -> None:
    upright = decode_image(with_exif(orientation=1), MANY)
    turned = decode_image(with_exif(orientation=6), MANY)
    assert turned.shape == (upright.shape[1], upright.shape[0], 3)


def test_a_tiff_on_its_side_is_shown_upright() -> None:
    upright = decode_image(with_exif("TIFF", orientation=1), MANY)
    turned = decode_image(with_exif("TIFF", orientation=6), MANY)
    np.testing.assert_array_equal(turned, cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))


def test_the_name_does_not_matter_but_the_content() -> None:
    assert decode_image(GOOD["plain.png"], MANY).shape == (48, 64, 3)


def rejected(data: bytes, max_pixels: int = MANY) -> tuple[str, str]:
    with pytest.raises(ImageRejected) as caught:
        decode_image(data, max_pixels)
    assert caught.value.detail
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    "name",
    [
        "plain.jpg",
        "progressive.jpg",
        "restart.jpg",
        "plain.png",
        "plain.bmp",
        "lossy.webp",
        "packed.tif",
    ],
)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.9, 0.999])
def test_a_cut_file_is_truncated(name: str, share: float) -> None:
    data = GOOD[name]
    cut = data[: min(len(data) - 1, max(12, int(len(data) * share)))]
    assert rejected(cut)[0] == "truncated"


def test_a_jpeg_without_its_end_marker_is_truncated() -> None:
    data = encoded(".jpg")
    assert data.endswith(b"\xff\xd9")
    # The decoder itself would give rows of grey and say nothing.
    assert rejected(data[:-2])[0] == "truncated"


def test_the_thumbnails_end_is_not_the_photos_end() -> None:
    data = encoded(".jpg")
    thumbnail = encoded(".jpg", seed=5, height=8, width=8)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    photo = data[:2] + segment + data[2:]
    np.testing.assert_array_equal(decode_image(photo, MANY), decode_image(data, MANY))
    assert rejected(photo[:-40])[0] == "truncated"


def test_what_is_no_image() -> None:
    assert rejected(b"") == ("zero_bytes", "the file is empty")
    assert rejected(b"this is a text, whatever its name says\n")[0] == "not_an_image"
    assert rejected(b"\0" * 1000)[0] == "not_an_image"
    gif = saved("GIF", "P")
    assert rejected(gif)[0] == "not_an_image"
    assert "GIF8" in rejected(gif)[1]


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    started = time.monotonic()
    reason, detail = rejected(png_bomb())
    assert reason == "too_many_pixels"
    assert "60000x60000" in detail
    assert time.monotonic() - started < 1
    data = encoded(".png", height=10, width=10)
    assert rejected(data, 99)[0] == "too_many_pixels"
    assert decode_image(data, 100).shape == (10, 10, 3)


@pytest.mark.parametrize("form", ["BMP", "TIFF", "WEBP", "JPEG"])
def test_bombs_of_every_format(form: str) -> None:
    side = 16_000
    if form == "JPEG":
        data = bytearray(encoded(".jpg"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif form == "WEBP":
        canvas = (side - 1).to_bytes(3, "little") * 2
        body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas
        data = bytearray(b"RIFF" + struct.pack("<I", len(body)) + body)
    elif form == "BMP":
        # Compressed rows, so that the size of the file says nothing.
        data = bytearray(encoded(".bmp"))
        data[18:26] = struct.pack("<ii", side, side)
        data[30:34] = struct.pack("<I", 1)
    else:
        data = bytearray(saved("TIFF", "1"))
        for tag in (256, 257):
            at = next(
                data.index(struct.pack("<HH", tag, kind))
                for kind in (3, 4)
                if struct.pack("<HH", tag, kind) in data
            )
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    assert rejected(bytes(data))[0] == "too_many_pixels"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (struct.pack(">I4s", 2**31 - 1, b"IEND"), "truncated"),
        (struct.pack(">I4sBI", 1, b"IEND", 0, 0) + struct.pack(">I4s", 2**32 - 9, b"tEXt"), None),
    ],
)
def test_a_png_that_claims_gigabytes_behind_its_rows_is_refused(
    end: bytes, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = encoded(".png", height=10, width=10)
    claimed = png[: png.index(b"IEND") - 4] + end + b"\0" * 12
    # OpenCV would take the memory: it is not asked.
    monkeypatch.delattr(cv2, "imdecode")
    assert rejected(claimed)[0] == (reason or "undecodable")


def test_an_animated_webp_is_its_first_frame_or_undecodable(tmp_path: Path) -> None:
    first = Image.fromarray(pixels(1)[:, :, ::-1].copy())
    out = io.BytesIO()
    first.save(out, "WEBP", save_all=True, append_images=[first.rotate(90)])
    path = tmp_path / "animated.webp"
    path.write_bytes(out.getvalue())
    np.testing.assert_array_equal(decode_image(out.getvalue(), 10**6), cv2.imread(str(path)))
    damaged = bytearray(out.getvalue())
    at = damaged.index(b"ANMF") + 40
    damaged[at : at + 24] = bytes(24)
    assert rejected(bytes(damaged)) == (
        "undecodable",
        "the first frame of the animated WebP is damaged",
    )


def test_an_animated_png_is_its_default_image_whatever_its_frames_are(tmp_path: Path) -> None:
    first = Image.fromarray(pixels(1)[:, :, ::-1].copy())
    out = io.BytesIO()
    first.save(out, "PNG", save_all=True, append_images=[first.rotate(90)])
    still = io.BytesIO()
    first.save(still, "PNG")
    expected = decode_image(still.getvalue(), 10**6)
    np.testing.assert_array_equal(decode_image(out.getvalue(), 10**6), expected)
    path = tmp_path / "animated.png"
    path.write_bytes(out.getvalue())
    np.testing.assert_array_equal(cv2.imread(str(path)), expected)
    # OpenCV ends the process on such a frame.
    damaged = bytearray(out.getvalue())
    at = damaged.index(b"fdAT") + 40
    damaged[at : at + 100] = bytes(100)
    np.testing.assert_array_equal(decode_image(bytes(damaged), 10**6), expected)
    assert as_still(still.getvalue()) == still.getvalue()


def test_damaged_pictures_are_undecodable() -> None:
    png = bytearray(encoded(".png"))
    png[len(png) // 2] ^= 0xFF
    assert rejected(bytes(png))[0] == "undecodable"
    header = struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)
    empty = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")
    assert rejected(empty)[0] == "undecodable"
    assert "0x5 pixels" in rejected(empty)[1]
    floats = saved("TIFF", "F")
    assert rejected(floats)[0] == "undecodable"
