"""From an encoded image to its pixels, as ``cv2.imread`` gives them, or a reason why not."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from platemill.archive.animation import as_still
from platemill.archive.headers import read_header
from platemill.errors import ImageRejected

__all__ = ["decode_image"]


def decode_image(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode JPEG, PNG, BMP, WebP or TIFF, told by its content, whatever the file is called.

    Equal to ``cv2.imread`` of the same file: turned as EXIF says, 16 bits brought to 8, grey and
    CMYK to three channels, alpha dropped, the first page of several, an animation as a still. (A
    TIFF that lies on its side is read too, where OpenCV 4.11's ``imread`` fails.)

    Args:
        data: the whole file.
        max_pixels: most pixels (width times height) that the header may claim.

    Returns:
        uint8 [H, W, 3] in BGR order, contiguous.

    Raises:
        ImageRejected: ``zero_bytes``, ``not_an_image``, ``truncated``, ``too_many_pixels`` (found
            before anything of that size is allocated) or ``undecodable``.
    """
    header = read_header(data)
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise ImageRejected(
            "too_many_pixels",
            f"{header.kind} header says {header.width}x{header.height} = {pixels:,} pixels; "
            f"at most {max_pixels:,} are read",
        )
    still = as_still(data)
    try:
        image = cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        raise ImageRejected("undecodable", f"{header.kind}: {_first_line(error)}") from None
    if image is None:
        raise ImageRejected(
            "undecodable", f"{header.kind} of {header.width}x{header.height} pixels is damaged"
        )
    return np.ascontiguousarray(image, dtype=np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
