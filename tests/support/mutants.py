"""A corpus of damaged images: small pictures of every format, each changed in a seeded way.

The same seed gives the same bytes. What is changed is what decoders believe: bits, lengths,
dimensions, directories, the seams between two files.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

__all__ = ["Mutant", "mutant", "write_corpus"]

_EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_JPEG_SIZE_MARKERS = (0xC0, 0xC1, 0xC2)
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".JPG")


@dataclass(frozen=True)
class Mutant:
    """A damaged image: its bytes, the picture it was, and how it was damaged (nothing: not)."""

    data: bytes
    base: str
    damage: str


def mutant(seed: int) -> Mutant:
    """The image of a seed; one in twenty is not damaged."""
    random = np.random.default_rng([20260501, seed])
    bases = _bases()
    base = sorted(bases)[int(random.integers(len(bases)))]
    data = bytearray(bases[base])
    if random.random() < 0.05:
        return Mutant(bytes(data), base, "")
    damages = [_DAMAGES[int(random.integers(len(_DAMAGES)))] for _ in range(random.integers(1, 4))]
    for damage in damages:
        data = damage(data, random) if len(data) > 8 else data
    return Mutant(bytes(data), base, " ".join(damage.__name__.strip("_") for damage in damages))


def write_corpus(folder: Path, seeds: Sequence[int]) -> dict[str, Mutant]:
    """Write images as ``cam/2026/05/DD/HHMMSS.ext``; by file name below the folder.

    The extension is as often wrong as right: what a file is, its content says.
    """
    written = {}
    for place, seed in enumerate(seeds):
        made = mutant(seed)
        extension = _EXTENSIONS[seed % len(_EXTENSIONS)]
        day, second = divmod(place, 2000)
        hour, minute = divmod(second // 60, 60)
        name = f"cam/2026/05/{day + 1:02d}/{hour:02d}{minute:02d}{second % 60:02d}{extension}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.data)
        written[name] = made
    return written


@functools.cache
def _bases() -> dict[str, bytes]:
    random = np.random.default_rng(1)
    noise = random.integers(0, 255, (40, 56, 3), dtype=np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 2)
    rgb = Image.fromarray(picture[:, :, ::-1].copy())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    taken = {0x9003: "2026:05:01 10:11:12", 0x9011: "+03:00", 0x927C: b"x" * 40}
    exif.get_ifd(0x8769).update(taken)

    def saved(image: Image.Image, form: str, **options: object) -> bytes:
        out = io.BytesIO()
        image.save(out, form, **options)  # type: ignore[arg-type]
        return out.getvalue()

    deep = cv2.imencode(".png", picture.astype(np.uint16) * 257)[1].tobytes()
    return {
        "jpeg": saved(rgb, "JPEG", exif=exif),
        "jpeg-progressive": saved(rgb, "JPEG", progressive=True, restart_marker_blocks=2),
        "jpeg-grey": saved(rgb.convert("L"), "JPEG", comment=b"a comment"),
        "jpeg-cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "png": saved(rgb, "PNG", exif=exif),
        "png-palette": saved(rgb.quantize(16), "PNG", transparency=3),
        "png-deep": deep,
        "png-alpha": saved(rgb.convert("RGBA"), "PNG", dpi=(72, 72)),
        "png-animated": saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "tiff": saved(rgb, "TIFF", exif=exif),
        "tiff-lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved(rgb.convert("L"), "TIFF", compression="tiff_deflate"),
        "tiff-jpeg": saved(rgb, "TIFF", compression="jpeg"),
        "tiff-packbits": saved(rgb, "TIFF", compression="packbits"),
        "tiff-fax": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff-two-pages": saved(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(90)]),
        "tiff-big": saved(rgb, "TIFF", big_tiff=True),
        "bmp": saved(rgb, "BMP"),
        "bmp-palette": saved(rgb.quantize(16), "BMP"),
        "webp": saved(rgb, "WEBP", exif=exif),
        "webp-lossless": saved(rgb.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "gif": saved(rgb, "GIF"),
    }


def _flip_bits(data: bytearray, random: np.random.Generator) -> bytearray:
    for place in random.integers(0, len(data), int(random.integers(1, 48))):
        data[place] ^= 1 << int(random.integers(8))
    return data


def _flip_header_bits(data: bytearray, random: np.random.Generator) -> bytearray:
    for place in random.integers(0, min(len(data), 64), int(random.integers(1, 6))):
        data[place] ^= 1 << int(random.integers(8))
    return data


def _truncate(data: bytearray, random: np.random.Generator) -> bytearray:
    return data[: int(random.integers(0, len(data)))]


def _splice(data: bytearray, random: np.random.Generator) -> bytearray:
    bases = _bases()
    other = bases[sorted(bases)[int(random.integers(len(bases)))]]
    head, tail = int(random.integers(len(data))), int(random.integers(len(other)))
    return data[:head] + bytearray(other[tail:])


def _repeat_or_drop(data: bytearray, random: np.random.Generator) -> bytearray:
    start = int(random.integers(len(data)))
    end = start + int(random.integers(1, 64))
    if random.random() < 0.5:
        return data[:start] + data[end:]
    return data[:end] + data[start:end] * int(random.integers(1, 40)) + data[end:]


def _zeros(data: bytearray, random: np.random.Generator) -> bytearray:
    start = int(random.integers(len(data)))
    end = min(len(data), start + int(random.integers(1, 128)))
    data[start:end] = bytes([int(random.choice([0, 0xFF]))]) * (end - start)
    return data


def _edge_number(data: bytearray, random: np.random.Generator) -> bytearray:
    """A number that is an edge case, of 1, 2, 4 or 8 bytes, somewhere, mostly near the start."""
    size = int(random.choice([1, 2, 4, 8]))
    reach = len(data) if random.random() < 0.4 else min(len(data), 128)
    place = int(random.integers(reach))
    return _put(
        data, place, size, int(random.choice(_EDGES)), "<" if random.random() < 0.5 else ">"
    )


def _length(data: bytearray, random: np.random.Generator) -> bytearray:
    """A wrong length of a JPEG segment, a PNG or RIFF chunk, or a TIFF directory's value."""
    ends = (len(data), len(data) + 1)
    wrong = int(random.choice([0, 1, 2, 3, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, *ends]))
    if data[:2] == b"\xff\xd8":
        places = [i + 2 for i in range(2, len(data) - 4) if data[i] == 0xFF and data[i + 1] >= 0xC0]
        return _at_one_of(data, random, places, 2, wrong, ">")
    if data[:4] == b"\x89PNG":
        places = [
            i - 4
            for kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
            if (i := data.find(kind)) > 4
        ]
        return _at_one_of(data, random, places, 4, wrong, ">")
    if data[:4] == b"RIFF":
        kinds = (b"VP8 ", b"VP8L", b"VP8X", b"EXIF", b"ANMF", b"ANIM")
        places = [4, *(i + 4 for kind in kinds if (i := data.find(kind)) > 0)]
        return _at_one_of(data, random, places, 4, wrong, "<")
    return _directory(data, random)


def _dimensions(data: bytearray, random: np.random.Generator) -> bytearray:
    """A huge, zero or odd width or height, where the format says it."""
    size = int(random.choice([0, 1, 3, 999, 2000, 2048, 16384, 65535, 0x7FFFFFFF]))
    if data[:2] == b"\xff\xd8":
        places = [
            i + 5 + 2 * int(random.integers(2))
            for i in range(2, len(data) - 10)
            if data[i] == 0xFF and data[i + 1] in _JPEG_SIZE_MARKERS
        ]
        return _at_one_of(data, random, places, 2, size, ">")
    if data[:4] == b"\x89PNG":
        return _put(data, 16 + 4 * int(random.integers(2)), 4, size, ">")
    if data[:2] == b"BM":
        return _put(data, 18 + 4 * int(random.integers(2)), 4, size, "<")
    if data[:4] == b"RIFF":
        return _put(data, int(random.choice([21, 24, 26, 27, 28])), 2, size, "<")
    if data[:4] == b"GIF8":
        return _put(data, 6 + 2 * int(random.integers(2)), 2, size, "<")
    return _directory(data, random, tags=(256, 257, 258, 277, 278, 322, 323))


def _directory(data: bytearray, random: np.random.Generator, tags: Sequence[int] = ()) -> bytearray:
    """A wrong type, count, value or offset in a TIFF or EXIF directory."""
    start = max(0, *(data.find(mark) for mark in (b"II*\0", b"MM\0*", b"II+\0")))
    order = ">" if data[start : start + 2] == b"MM" else "<"
    try:
        (at,) = struct.unpack_from(f"{order}I", data, start + 4)
        (count,) = struct.unpack_from(f"{order}H", data, start + at)
    except struct.error:
        return _edge_number(data, random)
    entries = [start + at + 2 + 12 * n for n in range(min(count, 64))]
    wanted = [
        entry
        for entry in entries
        if entry + 12 <= len(data)
        and (not tags or struct.unpack_from(f"{order}H", data, entry)[0] in tags)
    ]
    if not wanted or random.random() < 0.1:
        return _put(data, start + (4 if random.random() < 0.5 else at), 2, 0xFFFF, order)
    entry = wanted[int(random.integers(len(wanted)))]
    place, size = ((0, 2), (2, 2), (4, 4), (8, 4))[int(random.integers(1 if not tags else 2, 4))]
    value = int(random.choice([*_EDGES, len(data), at, 3, 4, 5, 12, 2000]))
    return _put(data, entry + place, size, value, order)


def _at_one_of(
    data: bytearray,
    random: np.random.Generator,
    places: Sequence[int],
    size: int,
    value: int,
    order: str,
) -> bytearray:
    if not places:
        return _edge_number(data, random)
    return _put(data, places[int(random.integers(len(places)))], size, value, order)


def _put(data: bytearray, place: int, size: int, value: int, order: str) -> bytearray:
    value &= (1 << 8 * size) - 1
    raw = value.to_bytes(size, "little" if order == "<" else "big")
    end = min(len(data), place + size)
    data[place:end] = raw[: max(0, end - place)]
    return data


_DAMAGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    _flip_bits,
    _flip_header_bits,
    _truncate,
    _splice,
    _repeat_or_drop,
    _zeros,
    _edge_number,
    _length,
    _length,
    _dimensions,
    _dimensions,
    _directory,
)
