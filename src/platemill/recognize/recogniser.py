"""An image's way: read, check, decode, ask the model, make rows. Knows nothing of what runs it.

Several images are on their way at once, each in a thread: while one is read or decoded the model
works on another. Results come in the order of the images, one for each, whatever happens to it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from platemill.errors import ImageRejected, InferenceFailed
from platemill.recognize.plan import PlannedImage
from platemill.recognize.poison import POISON, Verdict
from platemill.recognize.results import ImageResult, Plate
from platemill.schema import ImageStatus, Stage

__all__ = [
    "INFERENCE_ATTEMPTS",
    "OneByOne",
    "PlateModel",
    "PlateReading",
    "Read",
    "plates_of",
    "read_checked",
    "recognise",
]

INFERENCE_ATTEMPTS: Final = 3
# Confidences are shares; rounding may carry one a little past its end.
_ROUNDING: Final = 1e-3


class PlateReading(Protocol):
    """What a model sees in an image: N plates."""

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """Boxes as float32 [N, 4]: xmin, ymin, xmax, ymax in pixels of the image."""

    @property
    def texts(self) -> Sequence[str]:
        """N texts; empty where what was read is no well-formed plate."""

    @property
    def raw_texts(self) -> Sequence[str]:
        """N texts as they were read, before the format was applied."""

    @property
    def confidences(self) -> npt.NDArray[np.float32]:
        """Confidences of the texts, float32 [N], 0 to 1."""

    @property
    def detection_scores(self) -> npt.NDArray[np.float32]:
        """Confidences of the boxes, float32 [N], 0 to 1."""


class PlateModel(Protocol):
    """Reads the plates of one image: uint8 [H, W, 3], BGR. Called from several threads at once.

    Raises:
        InferenceFailed: on this image, while the server is well.
        RetryableError: the server does not answer.
    """

    def __call__(self, image: npt.NDArray[np.uint8], /) -> PlateReading:
        """Read an image's plates."""


Read = Callable[[str, int | None, int], bytes]
Decode = Callable[[bytes], npt.NDArray[np.uint8]]


Enter = Callable[[PlannedImage, Stage], None]
_NO_POISON: Final[Mapping[str, Verdict]] = {}


def recognise(
    images: Iterable[PlannedImage],
    read: Read,
    decode: Decode,
    model: PlateModel,
    *,
    in_flight: int,
    run_id: str,
    pipeline_version: str,
    now: Callable[[], datetime],
    poison: Mapping[str, Verdict] = _NO_POISON,
    enter: Enter = lambda image, stage: None,
) -> Iterator[ImageResult]:
    """Recognise images.

    At most ``in_flight`` images are held at once; ``images`` is not asked for more than that
    ahead of the results that were taken.

    Args:
        images: what to recognise, lazily.
        read: URI, offset and size → encoded bytes; may raise ImageRejected.
        decode: encoded bytes → uint8 [H, W, 3] BGR; may raise ImageRejected.
        model: the recogniser.
        in_flight: images on their way at once, and threads.
        run_id: for the rows.
        pipeline_version: for the rows.
        now: the time with its zone, asked once for each image.
        poison: URI → verdict of images that are known to kill; they are not touched.
        enter: told before an image is read, decoded and recognised.

    Yields:
        One result for each image, in order. An image that is rejected, whose bytes are not those
        of the inventory (``changed``), on which the model failed ``INFERENCE_ATTEMPTS`` times
        (``inference_failed``) or that kills (``poison``) is quarantined.

    Raises:
        RetryableError: the model's server, or the machine, cannot work now; no image is to blame.
    """
    work = OneByOne(read, decode, model, run_id, pipeline_version, now, poison, enter)
    waiting: deque[Future[ImageResult]] = deque()
    with ThreadPoolExecutor(in_flight, thread_name_prefix="recognise") as pool:
        for image in images:
            waiting.append(pool.submit(work, image))
            # Full: the next image is asked for when a result has been taken.
            if len(waiting) >= in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class OneByOne:
    """What becomes of one image; arguments as those of ``recognise``."""

    read: Read
    decode: Decode
    model: PlateModel
    run_id: str
    pipeline_version: str
    now: Callable[[], datetime]
    poison: Mapping[str, Verdict] = field(default_factory=dict)
    enter: Enter = lambda image, stage: None

    def __call__(self, image: PlannedImage) -> ImageResult:
        """Read, decode and recognise an image; whatever is wrong with it is in the result.

        Raises:
            RetryableError: the model's server, or the machine, cannot work now.
        """
        way = _Way(image, self.enter)
        size: tuple[int | None, int | None] = (None, None)
        plates: tuple[Plate, ...] = ()
        reason = detail = None
        verdict = self.poison.get(image.uri)
        if verdict is not None:
            way.stage, way.tries = verdict.stage, verdict.deaths
            reason, detail = POISON, verdict.detail
        else:
            try:
                pixels = way.pixels(self.read, self.decode)
                size = (int(pixels.shape[1]), int(pixels.shape[0]))
                plates = way.plates(self.model, pixels)
            except ImageRejected as error:
                reason, detail = error.reason, error.detail or error.reason
            except InferenceFailed as error:
                reason = "inference_failed"
                detail = f"{INFERENCE_ATTEMPTS} attempts, the last: {error}"
        if reason is None:
            return self.recognised(image, *size, plates, way.tries)
        return ImageResult(
            image,
            ImageStatus.QUARANTINED,
            reason,
            detail,
            way.stage,
            way.tries,
            *size,
            plates,
            self.pipeline_version,
            self.run_id,
            self.now(),
        )

    def recognised(
        self,
        image: PlannedImage,
        width: int | None,
        height: int | None,
        plates: tuple[Plate, ...],
        tries: int = 1,
    ) -> ImageResult:
        """The result of an image with which nothing is wrong."""
        return ImageResult(
            image,
            ImageStatus.RECOGNISED if plates else ImageStatus.NO_PLATE,
            None,
            None,
            None,
            tries,
            width,
            height,
            plates,
            self.pipeline_version,
            self.run_id,
            self.now(),
        )


@dataclass
class _Way:
    """How far an image has come, and how often it was tried."""

    image: PlannedImage
    enter: Enter
    stage: Stage = Stage.INVENTORY
    tries: int = 1

    def pixels(self, read: Read, decode: Decode) -> npt.NDArray[np.uint8]:
        image = self.image
        if image.rejected_reason is not None:
            raise ImageRejected(image.rejected_reason, image.rejected_detail or "")
        self._enter(Stage.READ)
        data = read_checked(image, read)
        self._enter(Stage.DECODE)
        return decode(data)

    def plates(self, model: PlateModel, pixels: npt.NDArray[np.uint8]) -> tuple[Plate, ...]:
        self._enter(Stage.INFER)
        while True:
            try:
                return plates_of(model(pixels))
            except InferenceFailed:
                if self.tries >= INFERENCE_ATTEMPTS:
                    raise
                self.tries += 1

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.enter(self.image, stage)


def read_checked(image: PlannedImage, read: Read) -> bytes:
    """An image's encoded bytes, which are those that the inventory saw.

    Raises:
        ImageRejected: it cannot be read, or has other bytes now.
    """
    data = read(image.uri, image.offset, image.byte_size)
    if hashlib.blake2b(data, digest_size=16).hexdigest() != image.image_id:
        raise ImageRejected("changed", "its bytes are not those that the inventory saw")
    return data


def plates_of(reading: PlateReading) -> tuple[Plate, ...]:
    """Check a reading and take it apart.

    Raises:
        InferenceFailed: its parts do not fit together, or a number is none.
    """
    boxes = np.asarray(reading.boxes, np.float32)
    count = len(boxes)
    shares = [np.asarray(reading.confidences), np.asarray(reading.detection_scores)]
    if (
        boxes.shape != (count, 4)
        or any(share.shape != (count,) for share in shares)
        or len(reading.texts) != count
        or len(reading.raw_texts) != count
    ):
        raise InferenceFailed(
            f"the model's outputs do not fit together: boxes {boxes.shape}, "
            f"{len(reading.texts)} texts, {len(reading.raw_texts)} raw texts, "
            f"confidences {shares[0].shape}, detection scores {shares[1].shape}"
        )
    if not np.isfinite(boxes).all():
        raise InferenceFailed("the model returned a box that is not finite")
    # Written so that NaN fails too.
    if not all(((share >= -_ROUNDING) & (share <= 1 + _ROUNDING)).all() for share in shares):
        raise InferenceFailed("the model returned a confidence outside 0 to 1")
    confidences, scores = (np.clip(share, 0.0, 1.0).tolist() for share in shares)
    return tuple(
        Plate(text, raw_text, confidence, score, *box)
        for text, raw_text, confidence, score, box in zip(
            reading.texts, reading.raw_texts, confidences, scores, boxes.tolist(), strict=True
        )
    )
