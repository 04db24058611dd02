"""Before and after the detector network: letterboxing an image, choosing its boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.vision.profile import BUILT_IN, DetectorProfile

MAX_BOXES = 100
"""Most plates returned for one image."""

BOX_COLUMNS = 5
"""Columns of a candidate that has no corners."""

TWO_LINES_FROM = 0.5
"""Probability from which a plate is read as two lines."""

LEAST_FACE = 0.2
"""Part of its box that a face must fill; a smaller one is taken for the whole box."""


@dataclass(frozen=True)
class Letterbox:
    """How an image was fitted into the network's input.

    The image's top left corner lies at `left`, `top` of the input; what remains is padding.
    `scale_x` and `scale_y` are input pixels per image pixel.
    """

    image_width: int
    image_height: int
    content_width: int
    content_height: int
    input_width: int
    input_height: int
    left: int = 0
    top: int = 0

    @property
    def scale_x(self) -> float:
        """Input pixels per image pixel, horizontally."""
        return self.content_width / self.image_width

    @property
    def scale_y(self) -> float:
        """Input pixels per image pixel, vertically."""
        return self.content_height / self.image_height

    def to_image(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points [..., 2], x and y, from pixels of the input to pixels of the image."""
        origin = np.array([self.left, self.top], np.float32)
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        return np.asarray((points - origin) / scale, dtype=np.float32)


def fit(
    image_width: int, image_height: int, profile: DetectorProfile = BUILT_IN.detector
) -> Letterbox:
    """Plan how an image is fitted into the network's input, keeping its aspect ratio."""
    if image_width < 1 or image_height < 1:
        raise ValueError(f"an image needs at least one pixel, got {image_width}x{image_height}")
    scale = profile.long_side / max(image_width, image_height)
    if not profile.enlarge:
        scale = min(1.0, scale)
    width = max(1, round(image_width * scale))
    height = max(1, round(image_height * scale))
    if profile.square:
        input_width = input_height = profile.long_side
    else:
        input_width = -(-width // profile.stride) * profile.stride
        input_height = -(-height // profile.stride) * profile.stride
    return Letterbox(
        image_width=image_width,
        image_height=image_height,
        content_width=width,
        content_height=height,
        input_width=input_width,
        input_height=input_height,
        left=(input_width - width) // 2 if profile.centred else 0,
        top=(input_height - height) // 2 if profile.centred else 0,
    )


def prepare(
    image: NDArray[np.uint8], profile: DetectorProfile = BUILT_IN.detector
) -> tuple[NDArray[np.float32], Letterbox]:
    """Turn an image into the network's input.

    Args:
        image: uint8 [H, W, 3] in BGR, as `cv2.imread` gives it, of any size from 1x1.
        profile: the input's size, colours and values.

    Returns:
        float32 [1, 3, h, w], channels last in memory, 0 to `profile.white`, h and w multiples of
        its stride; and the letterbox that leads back to the image.

    Raises:
        ValueError: the array is not uint8 [H, W, 3] with at least one pixel.
    """
    require_image(image)
    box = fit(image.shape[1], image.shape[0], profile)
    content: NDArray[Any] = image
    if (box.content_width, box.content_height) != (box.image_width, box.image_height):
        content = _resize(image, box.content_width, box.content_height)
    unit = profile.white / 255.0
    pixels = np.full((box.input_height, box.input_width, 3), profile.padding * unit, np.float32)
    if profile.colour == "RGB":
        content = cv2.cvtColor(content, cv2.COLOR_BGR2RGB)
    rows = slice(box.top, box.top + box.content_height)
    columns = slice(box.left, box.left + box.content_width)
    np.multiply(content, np.float32(unit), out=pixels[rows, columns], dtype=np.float32)
    return pixels.transpose(2, 0, 1)[np.newaxis], box


def _resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Halve the image while it is twice as large or more, then interpolate what is left.

    As even as averaging the area at once, and five times as fast (docs/adr/0014).
    """
    while image.shape[1] >= 2 * width and image.shape[0] >= 2 * height:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def require_image(image: NDArray[np.uint8]) -> None:
    """Raise ValueError unless `image` is uint8 [H, W, 3] with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "an image must be uint8 [H, W, 3] with at least one pixel, "
            f"got {image.dtype} {list(image.shape)}"
        )


@dataclass(frozen=True)
class Detections:
    """The plates found in one image, the best first; all in pixels of the image.

    boxes: float32 [N, 4], xmin, ymin, xmax, ymax, inside the image.
    scores: float32 [N], 0 to 1.
    corners: float32 [N, 4, 2], x and y of the face's top left, top right, bottom right and
        bottom left corner, which may lie a little outside the image.
    two_lines: bool [N], whether the plate is written in two lines.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    corners: NDArray[np.float32]
    two_lines: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of_boxes(
        cls, boxes: NDArray[np.float32], scores: NDArray[np.float32] | None = None
    ) -> Detections:
        """Upright plates of one line: what a detector that knows only boxes finds.

        Raises:
            ValueError: the boxes are not [N, 4].
        """
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must be [N, 4], got {list(boxes.shape)}")
        return cls(
            boxes=boxes,
            scores=np.ones(len(boxes), np.float32) if scores is None else scores,
            corners=corners_of(boxes),
            two_lines=np.zeros(len(boxes), np.bool_),
        )


def corners_of(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The corners [N, 4, 2] of boxes [N, 4], clockwise from the top left."""
    return np.ascontiguousarray(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])


def candidates_of(
    answer: NDArray[np.float32], profile: DetectorProfile = BUILT_IN.detector
) -> NDArray[np.float32]:
    """Bring a network's answer for one image into one form.

    Args:
        answer: of `profile.output`: ``platemill`` [M, 5 or 14], as `select` takes it; ``yolov8``
            [4 + classes, M] (centre, width, height in input pixels, a score for each class);
            ``yolov5`` [M, 5 + classes] (the same with an objectness before the scores).
        profile: the form, the class that is a plate and the score threshold.

    Returns:
        float32 [K, 5 or 14], those candidates whose score reaches the threshold.

    Raises:
        ValueError: the answer has another shape.
    """
    rows = answer.T if profile.output == "yolov8" else answer
    before = {"platemill": BOX_COLUMNS, "yolov8": 4, "yolov5": 5}[profile.output]
    classes = rows.shape[-1] - before
    least = 0 if profile.output == "platemill" else 1 + max(profile.plate_class, 0)
    if rows.ndim != 2 or classes < least:
        raise ValueError(f"a detector of form {profile.output} gave {list(answer.shape)}")
    if profile.output == "platemill":
        return rows[rows[:, 4] >= profile.score_threshold]
    if classes > 1 and profile.plate_class < 0:
        raise ValueError(f"the detector knows {classes} classes: name one as detector.plate_class")
    scores = rows[:, before + max(profile.plate_class, 0)]
    if profile.output == "yolov5":
        scores = scores * rows[:, 4]
    kept = scores >= profile.score_threshold
    middle, half = rows[kept, :2], rows[kept, 2:4] / 2
    return np.concatenate([middle - half, middle + half, scores[kept, None]], axis=1)


def select(
    answer: NDArray[np.float32],
    letterbox: Letterbox,
    profile: DetectorProfile = BUILT_IN.detector,
) -> Detections:
    """Choose the plates among the network's candidates (greedy non-maximum suppression).

    Args:
        answer: the network's answer for one image, in the profile's form (`candidates_of`). The
            form ``platemill`` is float32 [M, 14]: xmin, ymin, xmax, ymax in input pixels, a
            score, x and y of the four corners in input pixels, and the probability of two
            lines; or only the first five columns.
        letterbox: as `prepare` returned it.
        profile: the form and the thresholds: candidates of a lower score are dropped, and so is
            the weaker of two that overlap more.

    Returns:
        The plates, the best first; equal scores go by position.

    Raises:
        ValueError: the answer has another shape.
    """
    kept = candidates_of(answer, profile).astype(np.float32)
    kept = kept[np.isfinite(kept).all(axis=1)]
    size = np.array([letterbox.image_width, letterbox.image_height], np.float32)
    boxes = letterbox.to_image(kept[:, :4].reshape(-1, 2, 2)).reshape(-1, 4)
    boxes = np.clip(boxes, 0, np.tile(size, 2))
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    kept, boxes = kept[solid], boxes[solid]
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1], -kept[:, 4]))
    chosen: list[int] = []
    while order.size and len(chosen) < MAX_BOXES:
        best, order = int(order[0]), order[1:]
        chosen.append(best)
        order = order[overlaps(boxes[best], boxes[order]) <= profile.iou_threshold]
    index = np.asarray(chosen, dtype=np.intp)
    kept = kept[index]
    upright = Detections.of_boxes(
        np.ascontiguousarray(boxes[index]), np.ascontiguousarray(kept[:, 4])
    )
    if kept.shape[1] == BOX_COLUMNS:
        return upright
    corners = letterbox.to_image(kept[:, 5:13].reshape(-1, 4, 2))
    faces = np.where(_is_face(corners, upright.boxes)[:, None, None], corners, upright.corners)
    return replace(upright, corners=faces, two_lines=kept[:, 13] >= TWO_LINES_FROM)


def _is_face(corners: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether corners [N, 4, 2] turn clockwise and fill a fair part of their boxes [N, 4]."""
    along = np.roll(corners, -1, axis=1) - corners
    after = np.roll(along, -1, axis=1)
    turns = along[..., 0] * after[..., 1] - along[..., 1] * after[..., 0]
    following = np.roll(corners, -1, axis=1)
    area = (corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]).sum(1) / 2
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray((turns > 0).all(axis=1) & (area >= LEAST_FACE * whole))


def overlaps(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of `box` [4] with each of `boxes` [N, 4]: float32 [N]."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area + areas - shared, 1e-9), dtype=np.float32)
