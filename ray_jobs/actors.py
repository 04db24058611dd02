"""What runs on the nodes: one Triton server a node, and the workers that recognise.

The classes are plain; the driver makes Ray actors of them. They import what is heavy inside their
methods, so that a worker's imports and the server's start go on at the same time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platemill.errors import (
    InferenceFailed,
    LeaseLost,
    PlatemillError,
    RetryableError,
    ServerHangs,
    ServerUnavailable,
)
from platemill.observe.logs import log_fields, run_log
from platemill.settings import Settings, load_settings
from ray_jobs.feeding import Feed, Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from platemill.lake import Lake
    from platemill.recognize.plan import PlannedImage
    from platemill.recognize.poison import Verdict
    from platemill.schema import Stage

__all__ = ["Outcome", "TritonNode", "Worker"]

_GREY, _SIDE = 90, 64
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)
# The server's queue bounds the requests; this bounds the memory of images that wait for their turn.
_BULK_REQUESTS = 16


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a shard ended. A known error travels as data, not as an exception.

    ``began, ended``: by the clock of its node. ``byte_size``: of its images as they are stored.
    """

    key: str
    seconds: float
    error: PlatemillError | None = None
    began: dt.datetime = _NEVER
    ended: dt.datetime = _NEVER
    byte_size: int = 0

    @property
    def final(self) -> bool:
        """Whether another attempt is useless."""
        if isinstance(self.error, LeaseLost):
            return True
        return self.error is not None and not isinstance(self.error, RetryableError)

    @property
    def server_lost(self) -> bool:
        """Whether Triton did not answer."""
        return isinstance(self.error, ServerUnavailable)

    @property
    def server_hangs(self) -> bool:
        """Whether Triton took an image and gave no answer, so that it has to be started again."""
        return isinstance(self.error, ServerHangs)


class TritonNode:
    """The Triton server of a node.

    Args:
        run_id: the run; the server's log goes to its folder.
    """

    def __init__(self, run_id: str) -> None:
        self._settings = load_settings()
        # Nodes may share the home, and a server of an attempt before may still be ending.
        self._run_id = run_id
        self._name = f"triton-{socket.gethostname()}-{os.getpid()}"
        self._workdir = self._settings.runs / run_id / self._name
        self._server: Any = None
        self._found = contextlib.ExitStack()

    def address(self, afresh: bool = False) -> str:
        """Start the server unless it runs and is well; return its gRPC address.

        Args:
            afresh: start it again in any case; a server that hangs says that it is well.
        """
        from platemill.observe.targets import published_target
        from platemill.serving.embedded import EmbeddedTriton
        from platemill.serving.repository import repository_for_a_job

        if self._server is not None and (afresh or not _answers(self._server.grpc)):
            self.stop()
        if self._server is None:
            settings = self._settings
            server = EmbeddedTriton.of(settings, repository_for_a_job(settings), self._workdir)
            server.start()
            self._server = server
            if server.metrics is not None:
                name = f"{self._run_id}-{self._name}"
                labels = {"run_id": self._run_id, "host": socket.gethostname()}
                target = published_target(settings, name, server.metrics, "triton", **labels)
                self._found.enter_context(target)
        return str(self._server.grpc)

    def stop(self) -> None:
        """End the server."""
        self._found.close()
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def _answers(address: str, model: str | None = None) -> bool:
    import tritonclient.grpc as triton

    from platemill.serving.contracts import PLATE_RECOGNITION

    no_proxy = [("grpc.enable_http_proxy", 0)]
    with triton.InferenceServerClient(address, channel_args=no_proxy) as client:
        try:
            return bool(client.is_model_ready(model or PLATE_RECOGNITION.name, client_timeout=5.0))
        except triton.InferenceServerException:
            return False


@dataclass
class _Counts:
    plates: int = 0
    by_status: dict[str, int] = field(default_factory=dict)


class Worker:
    """Recognises shards, two at a time: one is read and recognised, one is being written.

    Args:
        run_id: the run, for the rows.
        pipeline_version: what the images are recognised with, for the rows.
    """

    def __init__(self, run_id: str, pipeline_version: str) -> None:
        self._settings: Settings = load_settings()
        self._run_id = run_id
        self._pipeline_version = pipeline_version
        self._turnstile = Turnstile(self._settings.images_in_flight)
        self._counts: dict[str, _Counts] = {}
        self._lock = threading.Lock()
        self._model: Any = None
        self._bulk: Any = None
        self._bulk_images = 1
        # The handler stays as long as the process, which is this worker's alone.
        self._log = contextlib.ExitStack()
        self._log.enter_context(
            run_log(
                self._settings.runs / run_id,
                run_id,
                self._settings.log_format,
                name=f"log-{socket.gethostname()}-{os.getpid()}.jsonl",
                part="worker",
                host=socket.gethostname(),
            )
        )

    def node(self) -> str:
        """The id of the node that this worker runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def prepare(self) -> None:
        """Import what recognition needs; open nothing that another process would miss."""
        import cv2
        import pyarrow as pa

        from platemill.archive.reader import ArchiveReader
        from platemill.arrow import keep_pandas_out
        from platemill.lake import open_lake
        from platemill.recognize.in_bulk import recognise_in_bulk
        from platemill.recognize.recogniser import OneByOne, recognise
        from platemill.recognize.shards import write_shard
        from platemill.serving.bulk import BulkClient
        from platemill.serving.client import PlateClient

        # The images in flight are the threads. More inside each would only fight for the cores.
        cv2.setNumThreads(1)
        pa.set_cpu_count(1)
        pa.set_io_thread_count(2)
        keep_pandas_out()
        settings = self._settings
        self._reader = ArchiveReader()
        self._lake = open_lake(settings)
        self._check_lease = _lease_checker(self._lake, settings.runs / self._run_id)
        self._recognise, self._write_shard, self._client = recognise, write_shard, PlateClient
        self._recognise_in_bulk, self._one_by_one = recognise_in_bulk, OneByOne
        self._bulk_client = BulkClient

    def connect(self, address: str, seconds: float) -> None:
        """Use the Triton server at this gRPC address from now on, as soon as it answers.

        Raises:
            ServerUnavailable: it does not answer in so many seconds.
        """
        deadline = time.monotonic() + seconds
        while not _answers(address):
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Triton at {address} does not answer, or has no model plate_recognition, "
                    f"for {seconds:g} s. See its log and PLATEMILL_TRITON_ADDRESS, then run again: "
                    "what was recognised is kept"
                )
            time.sleep(0.2)
        from platemill.serving.contracts import PLATE_BULK

        settings = self._settings
        seconds = settings.triton_answer_seconds
        has_bulk = _answers(address, PLATE_BULK.name)
        with self._lock:
            old = [self._model, self._bulk]
            self._model = self._client(address, slots=settings.images_in_flight, seconds=seconds)
            self._bulk = None
            self._turnstile = Turnstile(settings.images_in_flight)
            if has_bulk:
                self._bulk = self._bulk_client(
                    address, max_pixels=settings.max_image_pixels, seconds=seconds
                )
                self._bulk_images = settings.bulk_images or self._bulk.images_a_request()
                # No shard is being worked on while the server is changed.
                self._turnstile = Turnstile(self._bulk_images * _BULK_REQUESTS)
        for client in old:
            if client is not None:
                client.close()

    def greet(self) -> None:
        """Decode and recognise a plain grey picture, of which nothing can be to blame.

        Raises:
            ServerUnavailable: Triton dies or hangs on that, too.
        """
        import cv2
        import numpy as np

        from platemill.archive.decode import decode_image

        grey = np.full((_SIDE, _SIDE, 3), _GREY, np.uint8)
        pixels = decode_image(cv2.imencode(".png", grey)[1].tobytes(), grey.size)
        # That a model fails on it says nothing of those that die.
        with contextlib.suppress(InferenceFailed):
            self._model(pixels)

    def recognise(self, key: str, images: list[PlannedImage]) -> Outcome:
        """Recognise one shard and record it; the result of an attempt that lost is thrown away."""
        return self._outcome(key, images, lambda: self._recognise_shard(key, images, in_bulk=True))

    def alone(
        self,
        key: str,
        images: list[PlannedImage],
        poison: Mapping[str, Verdict],
        record: bool,
        trail: Path,
    ) -> Outcome:
        """Recognise images of an isolated shard, one after the other.

        Args:
            key: the shard.
            images: all of the shard's if it is to be recorded, else the ones to try.
            poison: URI → verdict of images that are not touched.
            record: record the shard; else the rows are thrown away.
            trail: a file that says where the image is that is on its way, should this be the end.
        """
        with _Trail(trail) as entered:
            return self._outcome(
                key,
                images,
                lambda: self._recognise_shard(
                    key, images, poison=poison, in_flight=1, enter=entered.enter, record=record
                ),
            )

    def _outcome(self, key: str, images: list[PlannedImage], work: Callable[[], None]) -> Outcome:
        started, began = time.monotonic(), dt.datetime.now(dt.UTC)
        error = None
        try:
            with log_fields(shard=key):
                work()
        except PlatemillError as raised:
            error = raised
        finally:
            with self._lock:
                self._counts.pop(key, None)
        seconds = time.monotonic() - started
        size = sum(image.byte_size for image in images)
        return Outcome(key, seconds, error, began, began + dt.timedelta(seconds=seconds), size)

    def close(self) -> None:
        """Give back what the server and the archives hold for this worker."""
        with self._lock:
            clients = [self._model, self._bulk]
            self._model = self._bulk = None
        for client in clients:
            if client is not None:
                client.close()
        self._reader.close()
        self._log.close()

    def counts(self) -> dict[str, tuple[int, dict[str, int]]]:
        """``(plates, images by status)`` so far, of the shards that are being worked on."""
        with self._lock:
            return {
                key: (count.plates, dict(count.by_status)) for key, count in self._counts.items()
            }

    def _recognise_shard(
        self,
        key: str,
        images: list[PlannedImage],
        *,
        in_bulk: bool = False,
        in_flight: int | None = None,
        record: bool = True,
        **given: Any,
    ) -> None:
        from platemill.archive.decode import decode_image

        settings = self._settings
        with self._lock:
            counts = self._counts[key] = _Counts()
            model, bulk = self._model, self._bulk
        feed: Feed[Any, Any] = Feed(self._turnstile)
        way = {
            "read": self._reader.read,
            "decode": lambda data: decode_image(data, settings.max_image_pixels),
            "model": model,
            "run_id": self._run_id,
            "pipeline_version": self._pipeline_version,
            "now": lambda: dt.datetime.now(dt.UTC),
            **given,
        }
        with feed:
            results: Any
            if in_bulk and bulk is not None:
                results = self._recognise_in_bulk(
                    feed.images(images),
                    bulk,
                    self._one_by_one(**way),
                    batch=self._bulk_images,
                    in_flight=self._bulk_images * _BULK_REQUESTS,
                )
            else:
                results = self._recognise(
                    feed.images(images),
                    in_flight=in_flight or settings.images_in_flight,
                    **way,
                )
            # Closed here, not whenever: its threads end before the next shard counts on room.
            with contextlib.closing(results):
                counted = self._counted(feed.results(results), counts)
                if record:
                    day = images[0].day
                    self._write_shard(self._lake, key, counted, lambda: self._check_lease(day))
                else:
                    deque(counted, maxlen=0)

    def _counted(self, results: Any, counts: _Counts) -> Any:
        for result in results:
            with self._lock:
                counts.plates += len(result.plates)
                status = result.status.value
                counts.by_status[status] = counts.by_status.get(status, 0) + 1
            yield result


def _lease_checker(lake: Lake, run: Path) -> Callable[[dt.date], None]:
    """A function that raises ``LeaseLost`` if the run of this folder lost the lease of a day."""
    from platemill.lake.lease import Tokens, day_lease

    tokens = Tokens.load(run)
    return lambda day: tokens.check(lake.storage, [day_lease(day)])


class _Trail:
    """Notes in a file where an image is, in one write, so that a death leaves a whole word."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Trail:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        return self

    def __exit__(self, *_why: object) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def enter(self, _image: PlannedImage, stage: Stage) -> None:
        os.pwrite(self._file, f"{stage.value:<9}".encode(), 0)
