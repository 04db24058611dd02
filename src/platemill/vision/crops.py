"""The reader's input: plates cut out of the full-resolution image and straightened.

A plate is given by the four corners of its face. A box is such a quadrilateral too, so what a
detector without corners finds goes the same way.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.vision.detector import Detections, require_image
from platemill.vision.profile import BUILT_IN, CropProfile

CROP_WIDTH = BUILT_IN.crop.width
CROP_HEIGHT = BUILT_IN.crop.height

_MOST_OVERSAMPLING = 16


def prepare_crops(
    image: NDArray[np.uint8], plates: Detections, profile: CropProfile = BUILT_IN.crop
) -> NDArray[np.float32]:
    """Cut the plates out of the image and scale them for the reader.

    Args:
        image: uint8 [H, W, 3] in BGR, at the full resolution it was sent with.
        plates: N plates in pixels of the image; N may be 0.
        profile: the crops' size, margins, colours and values.

    Returns:
        float32 [N, 3, 24, 94] (the profile's height and width), contiguous; in the built-in
        profile RGB, `(x - 127.5) / 128`.

    Raises:
        ValueError: the image is not uint8 [H, W, 3].
    """
    require_image(image)
    crops = np.empty((len(plates), 3, profile.height, profile.width), np.float32)
    for crop, corners, two_lines in zip(crops, plates.corners, plates.two_lines, strict=True):
        crop[...] = normalise(straighten(image, corners, bool(two_lines), profile), profile)
    return crops


def straighten(
    image: NDArray[np.uint8],
    corners: NDArray[np.float32],
    two_lines: bool = False,
    profile: CropProfile = BUILT_IN.crop,
) -> NDArray[np.uint8]:
    """Map a plate's face, with its margin, onto the reader's input.

    Args:
        image: uint8 [H, W, 3].
        corners: float32 [4, 2], x and y of the face's top left, top right, bottom right and
            bottom left corner, in pixels; a face without area gives a crop of one colour.
        two_lines: whether the lower line is to be put to the right of the upper one.
        profile: the crop's size and margins.

    Returns:
        uint8 [24, 94, 3] (the profile's height and width). What lies outside the image repeats
        its border.
    """
    width, height = profile.width, profile.height
    if two_lines:
        width, height = width // 2, 2 * height
    sides = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)
    shrinks = max(max(sides[0], sides[2]) / width, max(sides[1], sides[3]) / height)
    fine = min(max(1, math.ceil(float(shrinks))), _MOST_OVERSAMPLING)
    seen = cv2.warpPerspective(
        image,
        _towards(corners, width * fine, height * fine, profile),
        (width * fine, height * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine > 1:
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
    if two_lines:
        lines = [seen[: profile.height], seen[profile.height :]]
        seen = np.concatenate(lines, axis=1)
        if profile.width % 2:
            seen = cv2.copyMakeBorder(seen, 0, 0, 0, 1, cv2.BORDER_REPLICATE)
    return np.asarray(seen, dtype=np.uint8)


def _towards(
    corners: NDArray[np.float32], width: int, height: int, profile: CropProfile
) -> NDArray[np.float64]:
    """The homography from pixels of a crop, with its margin, to pixels of the image."""
    dx = profile.margin_x / (1 + 2 * profile.margin_x) * width
    dy = profile.margin_y / (1 + 2 * profile.margin_y) * height
    # Pixel centres lie at whole coordinates in OpenCV, half a pixel inside the pixel's edge.
    face = np.array(
        [[dx, dy], [width - dx, dy], [width - dx, height - dy], [dx, height - dy]], np.float32
    )
    matrix = cv2.getPerspectiveTransform(face - 0.5, corners.astype(np.float32) - 0.5)
    return np.asarray(matrix, dtype=np.float64)


def normalise(crop: NDArray[np.uint8], profile: CropProfile = BUILT_IN.crop) -> NDArray[np.float32]:
    """Turn uint8 [24, 94, 3] BGR into float32 [3, 24, 94] of the profile's colours and values."""
    ordered = crop[:, :, ::-1] if profile.colour == "RGB" else crop
    planes = ordered.transpose(2, 0, 1).astype(np.float32)
    planes -= np.array(profile.mean, np.float32)[:, None, None]
    planes *= (1.0 / np.array(profile.std))[:, None, None].astype(np.float32)
    return planes
