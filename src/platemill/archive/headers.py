"""What an image's own header says, read before any pixel is: its kind and size, and its end.

A few bytes can claim a picture of gigabytes, so the claim is checked first. A file that was cut
off is found here too, where the format says where its end is: the decoder either returns grey
rows for it or fails without saying why.

Sources: ITU T.81 annex B (JPEG), the PNG specification, the WebP container specification, TIFF 6.0
and the BITMAPINFOHEADER documentation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from platemill.archive.ifd import read_directory
from platemill.errors import ImageRejected

__all__ = ["ImageHeader", "read_header"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PIECE: Final = 1 << 20
# By the byte behind an FF: not a stuffed 00, a filling FF or a restart marker.
_ENDS_A_SCAN: Final = np.ones(256, np.bool_)
_ENDS_A_SCAN[[0x00, 0xFF, *range(0xD0, 0xD8)]] = False
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says that it is: its format, and its size in pixels as it is stored."""

    kind: str
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """Read an encoded image's header and look for its end.

    Args:
        data: the whole file.

    Raises:
        ImageRejected: ``zero_bytes``; ``not_an_image``; ``truncated``: the end is missing;
            ``undecodable``: the header contradicts itself.
    """
    if not data:
        raise ImageRejected("zero_bytes", "the file is empty")
    try:
        if data[:2] == b"\xff\xd8":
            header = _jpeg(data)
        elif data[:8] == _PNG:
            header = _png(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            header = _webp(data)
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            header = _tiff(data)
        elif data[:2] == b"BM":
            header = _bmp(data)
        else:
            raise ImageRejected(
                "not_an_image", f"starts with {data[:12]!r}; JPEG, PNG, BMP, WebP and TIFF are read"
            )
    except (struct.error, IndexError):
        raise ImageRejected("truncated", f"ends in its header, after {len(data)} bytes") from None
    if header.width <= 0 or header.height <= 0:
        raise ImageRejected(
            "undecodable", f"{header.kind} header says {header.width}x{header.height} pixels"
        )
    return header


def _jpeg(data: bytes) -> ImageHeader:
    header = None
    position = 2
    in_scan = False
    while True:
        if in_scan:
            end = _end_of_scan(data, position)
            if end is None:
                raise ImageRejected(
                    "truncated", f"no end-of-image marker after the scan, in {len(data)} bytes"
                )
            marker, position = data[end - 1], end
        else:
            # Between segments, bytes that are no marker are skipped, as libjpeg does.
            start = data.find(b"\xff", position)
            if start < 0:
                raise ImageRejected("truncated", f"no picture in {len(data)} bytes of JPEG")
            marker, position = data[start + 1], start + 2
            if marker == 0xFF:
                position -= 1
                continue
        if marker == 0xD9:
            if header is None or not in_scan:
                raise ImageRejected("truncated", "the JPEG ends before its first scan")
            return header
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise ImageRejected("undecodable", f"a JPEG segment says that it has {length} bytes")
        if marker in _JPEG_FRAMES and header is None:
            height, width = struct.unpack_from(">HH", data, position + 3)
            header = ImageHeader("JPEG", width, height)
        if marker == 0xDA:
            if header is None:
                raise ImageRejected("undecodable", "a JPEG scan without a frame before it")
            in_scan = True
        position += length


def _end_of_scan(data: bytes, position: int) -> int | None:
    """Where the first marker behind a scan's data ends; None if there is none.

    In entropy-coded data FF is followed by 00 or by a restart marker; anything else is a marker.
    """
    while position < len(data) - 1:
        # Most of an image is its scan, so it is looked through in pieces, many bytes at a time.
        piece = np.frombuffer(data, np.uint8, min(_PIECE, len(data) - position), position)
        places = np.flatnonzero(piece[:-1] == 0xFF)
        ends = places[_ENDS_A_SCAN[piece[places + 1]]]
        if len(ends):
            return position + int(ends[0]) + 2
        # The last byte may be the FF of a marker.
        position += len(piece) - 1
    return None


def _png(data: bytes) -> ImageHeader:
    length, name = struct.unpack_from(">I4s", data, 8)
    if name != b"IHDR" or length != 13:
        raise ImageRejected("undecodable", "the PNG does not start with its header")
    width, height = struct.unpack_from(">II", data, 16)
    position = 8
    while True:
        if position + 12 > len(data):
            raise ImageRejected("truncated", f"no IEND chunk in {len(data)} bytes of PNG")
        length, name = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        # OpenCV takes the memory that a chunk claims before it looks for its bytes, and goes on
        # behind an end that is not empty.
        if position > len(data):
            raise ImageRejected("truncated", f"a chunk of the PNG ends beyond {len(data)} bytes")
        if name == b"IEND":
            if length:
                raise ImageRejected("undecodable", f"the PNG's end says that it has {length} bytes")
            return ImageHeader("PNG", width, height)


def _webp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise ImageRejected("truncated", f"{len(data)} bytes of a WebP of {size + 8}")
    name = data[12:16]
    if name == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif name == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageRejected("undecodable", f"the WebP starts with a chunk {name!r}")
    return ImageHeader("WebP", width, height)


def _tiff(data: bytes) -> ImageHeader:
    directory = read_directory(data)
    if directory is None:
        raise ImageRejected("truncated", f"no directory in {len(data)} bytes of TIFF")
    if directory.end > len(data):
        raise ImageRejected("truncated", f"values of the TIFF lie beyond its {len(data)} bytes")
    width, height = directory.numbers(256), directory.numbers(257)
    if not width or not height:
        raise ImageRejected("undecodable", "the TIFF does not say its size")
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        pairs = zip(directory.numbers(offsets), directory.numbers(sizes), strict=False)
        if any(start + size > len(data) for start, size in pairs):
            raise ImageRejected("truncated", f"rows of the TIFF lie beyond its {len(data)} bytes")
    return ImageHeader("TIFF", width[0], height[0])


def _bmp(data: bytes) -> ImageHeader:
    pixels, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    stride = (width * bits + 31) // 32 * 4
    # 0 is plain and 3 plain with masks; the others are compressed and have no fixed size.
    if compression in (0, 3) and pixels + stride * height > len(data):
        raise ImageRejected(
            "truncated", f"{len(data)} bytes of a BMP of {pixels + stride * height}"
        )
    return ImageHeader("BMP", width, height)
