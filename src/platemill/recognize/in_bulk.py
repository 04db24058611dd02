"""Many images at once through a model that takes them encoded; one by one where that fails.

A batch is read and checked in one thread while others are at the model, so that nothing waits for
the disk. An image that is not answered in bulk, for whatever reason, goes the way of a single one
(``recogniser``): its reason, stage and attempts are what they always are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from platemill.errors import ImageRejected, InferenceFailed
from platemill.recognize.plan import PlannedImage
from platemill.recognize.recogniser import OneByOne, PlateReading, plates_of, read_checked
from platemill.recognize.results import ImageResult

__all__ = ["BulkModel", "BulkReading", "recognise_in_bulk"]

_BATCH_BYTES: Final = 32_000_000
_HELD_BYTES: Final = 256_000_000


class BulkReading(Protocol):
    """The plates of one image, and its size in pixels as it is shown."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def reading(self) -> PlateReading:
        """Its plates."""


class BulkModel(Protocol):
    """Reads the plates of many encoded images. Called from several threads at once.

    Raises:
        InferenceFailed: on all of them, while the server is well.
        RetryableError: the server does not answer.
    """

    @property
    def requests(self) -> int:
        """How many calls keep it busy now."""

    def __call__(self, images: Sequence[bytes], /) -> Sequence[BulkReading | None]:
        """Read the plates of encoded images; None: that one has to be asked for alone."""


def recognise_in_bulk(
    images: Iterable[PlannedImage],
    model: BulkModel,
    one_by_one: OneByOne,
    *,
    batch: int,
    in_flight: int,
) -> Iterator[ImageResult]:
    """Recognise images.

    Args:
        images: what to recognise, lazily.
        model: the recogniser of many images.
        one_by_one: what becomes of an image that it does not answer; it also knows how to read.
        batch: most images of a call.
        in_flight: most images that are held at once. ``images`` is not asked for more than that
            ahead of the results that were taken.

    Yields:
        One result for each image, in order, the same as ``recognise`` gives.

    Raises:
        RetryableError: the model's server, or the machine, cannot work now; no image is to blame.
    """
    waiting: deque[tuple[Future[list[ImageResult]], int]] = deque()
    held, held_bytes = 0, 0
    pending: list[PlannedImage] = []
    pending_bytes = 0
    with ThreadPoolExecutor(max(1, in_flight // batch), thread_name_prefix="bulk") as pool:

        def submit() -> None:
            nonlocal pending, pending_bytes
            if pending:
                waiting.append((pool.submit(_work, pending, model, one_by_one), pending_bytes))
            pending, pending_bytes = [], 0

        for image in images:
            pending.append(image)
            pending_bytes += image.byte_size
            held, held_bytes = held + 1, held_bytes + image.byte_size
            if len(pending) >= batch or pending_bytes >= _BATCH_BYTES or held >= in_flight:
                submit()
            # Full: the next image is asked for when results have been taken.
            while waiting and (
                held >= in_flight or held_bytes >= _HELD_BYTES or len(waiting) >= model.requests
            ):
                done, size = waiting.popleft()
                results = done.result()
                held, held_bytes = held - len(results), held_bytes - size
                yield from results
        submit()
        while waiting:
            yield from waiting.popleft()[0].result()


def _work(
    images: Sequence[PlannedImage], model: BulkModel, one_by_one: OneByOne
) -> list[ImageResult]:
    """A batch's results, in order."""
    files: dict[int, bytes] = {}
    for place, image in enumerate(images):
        if image.rejected_reason is None:
            try:
                files[place] = read_checked(image, one_by_one.read)
            except ImageRejected:
                # Said again, with all that belongs to it, when the image is worked alone.
                continue
    answers: dict[int, BulkReading | None] = {}
    if files:
        try:
            answers = dict(zip(files, model(list(files.values())), strict=True))
        except InferenceFailed:
            answers = {}
    files.clear()
    return [_result(image, answers.get(place), one_by_one) for place, image in enumerate(images)]


def _result(image: PlannedImage, answer: BulkReading | None, one_by_one: OneByOne) -> ImageResult:
    if answer is not None:
        try:
            plates = plates_of(answer.reading)
            return one_by_one.recognised(image, answer.width, answer.height, plates)
        except InferenceFailed:
            pass
    return one_by_one(image)
