"""The client of ``plate_bulk``: many encoded images a request, a bounded number of requests."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from platemill.serving.client import Payload, TritonClient
from platemill.serving.contracts import PLATE_BULK
from platemill.serving.reading import PlateReading
from platemill.serving.window import MOST_REQUESTS, QueueTimes, Window

__all__ = ["BulkClient", "BulkReading"]

_INPUT = PLATE_BULK.inputs[0]
_IMAGES = "IMAGES_A_REQUEST"
_DEFAULT_IMAGES = 8
_LOOK_SECONDS = 0.5
_STATISTICS_SECONDS = 10.0


@dataclass(frozen=True)
class BulkReading:
    """The plates of one image, and how large it is, as it is shown, in pixels."""

    width: int
    height: int
    reading: PlateReading


class BulkClient(TritonClient):
    """Recognises many encoded images a call; any number of threads may call at once.

    How many calls are on their way follows the server's queue; the others wait in the call.

    Args:
        grpc_address: ``host:port``.
        max_pixels: an image whose header claims more is not answered.
        seconds: how long one request may take.
    """

    def __init__(self, grpc_address: str, *, max_pixels: int, seconds: float = 120.0) -> None:
        super().__init__(grpc_address, slots=MOST_REQUESTS, seconds=seconds)
        self._parameters = {"max_pixels": max_pixels}
        self._window = Window()
        self._looking = threading.Lock()
        self._looked_at = time.monotonic()

    @property
    def requests(self) -> int:
        """How many calls keep the server busy now: a few more than may be on their way."""
        return self._window.requests + 1

    def images_a_request(self) -> int:
        """How many images a request had best carry, as the model's config says.

        Raises:
            ServerUnavailable: the server does not answer.
        """
        from tritonclient.utils import InferenceServerException

        try:
            told = self._client.get_model_config(
                PLATE_BULK.name, client_timeout=_STATISTICS_SECONDS
            )
        except InferenceServerException as error:
            raise self._unavailable(error) from None
        said = told.config.parameters
        return int(said[_IMAGES].string_value) if _IMAGES in said else _DEFAULT_IMAGES

    def __call__(self, images: Sequence[bytes]) -> list[BulkReading | None]:
        """Recognise encoded images. None: ask ``plate_recognition`` for that one alone.

        Raises:
            ServerUnavailable: the server does not answer; the same call may succeed later.
            ServerHangs: it took the images and gave no answer in `seconds`.
            InferenceFailed: the model failed on all of them.
        """
        plain = np.empty(len(images), np.object_)
        plain[:] = images
        memory = np.frombuffer(_as_tensor(images), np.uint8)
        payload = Payload(_INPUT.name, "BYTES", plain, memory, f"{len(images)} images")
        with self._window:
            answer = self.ask(PLATE_BULK, payload, self._parameters)
        self._look()
        return list(_readings(answer))

    def _look(self) -> None:
        """Now and then, look at the server's queue."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._looked_at = time.monotonic()
            times = self._queue_times()
        finally:
            self._looking.release()
        if times is not None:
            self._window.follow(times)

    def _queue_times(self) -> QueueTimes | None:
        from tritonclient.utils import InferenceServerException

        try:
            told = self._client.get_inference_statistics(
                PLATE_BULK.name, client_timeout=_STATISTICS_SECONDS
            )
        except InferenceServerException:
            # Whoever asks next hears of it; the bound can wait.
            return None
        seen = told.model_stats[0].inference_stats
        return QueueTimes(seen.success.count, seen.queue.ns, seen.compute_infer.ns)


def _as_tensor(images: Sequence[bytes]) -> bytes:
    """A tensor of type BYTES as it lies in memory: each item's length, then the item."""
    parts: list[bytes] = []
    for image in images:
        parts += [struct.pack("<I", len(image)), image]
    return b"".join(parts)


def _readings(answer: Sequence[NDArray[Any]]) -> Iterator[BulkReading | None]:
    plates, sizes, boxes, texts, raw_texts, confidences, scores = answer
    start = 0
    for count, (width, height) in zip(plates.tolist(), sizes.tolist(), strict=True):
        if count < 0:
            yield None
            continue
        rows = slice(start, start + count)
        start += count
        yield BulkReading(
            width,
            height,
            PlateReading(
                boxes=boxes[rows],
                texts=[text.decode() for text in texts[rows, 0]],
                raw_texts=[text.decode() for text in raw_texts[rows, 0]],
                confidences=confidences[rows, 0],
                detection_scores=scores[rows, 0],
            ),
        )
