"""Animated images are read as stills: the first frame of a WebP, the default image of a PNG.

OpenCV 4.11 reads both with code that does not survive damage. Of a WebP whose first frame cannot be
decoded it takes the pixels from wherever a pointer that was never set points to; a PNG with a
damaged frame ends the process. So neither gets there.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from PIL import Image

from platemill.errors import ImageRejected

__all__ = ["as_still"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_WEBP_ANIMATED: Final = 0x02


def as_still(data: bytes) -> bytes:
    """The bytes that a decoder may be given; the same but for an animated PNG.

    Args:
        data: an encoded image whose header was read (``headers.read_header``).

    Raises:
        ImageRejected: ``undecodable``: an animated WebP has no first frame.
    """
    if data[:8] == _PNG:
        return _still_png(data)
    extended = data[:4] == b"RIFF" and data[12:16] == b"VP8X" and len(data) > 20
    if extended and data[20] & _WEBP_ANIMATED and not _has_first_frame(data):
        raise ImageRejected("undecodable", "the first frame of the animated WebP is damaged")
    return data


def _still_png(data: bytes) -> bytes:
    """A PNG without the chunks of its animation (APNG specification 1.0)."""
    kept = [data[:8]]
    position, start, animated = 8, 8, False
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if name in _PNG_ANIMATION:
            kept.append(data[start:position])
            start, animated = end, True
        position = end
        if name == b"IEND":
            break
    return b"".join([*kept, data[start:position]]) if animated else data


def _has_first_frame(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False
    return True
