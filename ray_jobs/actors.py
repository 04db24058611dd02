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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platemill.errors import PlatemillError, RetryableError, ServerUnavailable
from platemill.settings import Settings, load_settings
from ray_jobs.feeding import Feed, Turnstile

if TYPE_CHECKING:
    from platemill.recognize.plan import PlannedImage

__all__ = ["Outcome", "TritonNode", "Worker"]


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a shard ended. A known error travels as data, not as an exception."""

    key: str
    seconds: float
    error: PlatemillError | None = None

    @property
    def final(self) -> bool:
        """Whether another attempt is useless."""
        return self.error is not None and not isinstance(self.error, RetryableError)

    @property
    def server_lost(self) -> bool:
        """Whether Triton did not answer."""
        return isinstance(self.error, ServerUnavailable)


class TritonNode:
    """The Triton server of a node.

    Args:
        run_id: the run; the server's log goes to its folder.
    """

    def __init__(self, run_id: str) -> None:
        self._settings = load_settings()
        # Nodes may share the home, and a server of an attempt before may still be ending.
        name = f"triton-{socket.gethostname()}-{os.getpid()}"
        self._workdir = self._settings.runs / run_id / name
        self._server: Any = None

    def address(self) -> str:
        """Start the server unless it runs and is well; return its gRPC address."""
        from platemill.serving.embedded import BACKENDS, EmbeddedTriton
        from platemill.serving.repository import repository_of

        if self._server is not None and not _answers(self._server.grpc):
            self.stop()
        if self._server is None:
            settings = self._settings
            server = EmbeddedTriton(
                repository_of(settings),
                settings.triton_interpreter,
                self._workdir,
                settings.triton_start_seconds,
                backends=settings.project / BACKENDS,
            )
            server.start()
            self._server = server
        return str(self._server.grpc)

    def stop(self) -> None:
        """End the server."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def _answers(address: str) -> bool:
    import tritonclient.grpc as triton

    from platemill.serving.contracts import PLATE_RECOGNITION

    no_proxy = [("grpc.enable_http_proxy", 0)]
    with triton.InferenceServerClient(address, channel_args=no_proxy) as client:
        try:
            return bool(client.is_model_ready(PLATE_RECOGNITION.name, client_timeout=5.0))
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

    def node(self) -> str:
        """The id of the node that this worker runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def prepare(self) -> None:
        """Import what recognition needs; open nothing that another process would miss."""
        import cv2
        import pyarrow as pa

        from platemill.archive.reader import ArchiveReader
        from platemill.lake import Lake
        from platemill.recognize.recogniser import recognise
        from platemill.recognize.shards import write_shard
        from platemill.serving.client import PlateClient

        # The images in flight are the threads. More inside each would only fight for the cores.
        cv2.setNumThreads(1)
        pa.set_cpu_count(1)
        pa.set_io_thread_count(2)
        settings = self._settings
        self._reader = ArchiveReader()
        self._lake = Lake(settings.lake)
        self._recognise, self._write_shard, self._client = recognise, write_shard, PlateClient

    def connect(self, address: str) -> None:
        """Use the Triton server at this gRPC address from now on, as soon as it answers.

        Raises:
            ServerUnavailable: it does not answer in the time that a start may take.
        """
        deadline = time.monotonic() + self._settings.triton_start_seconds
        while not _answers(address):
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Triton at {address} does not answer, or has no model plate_recognition; "
                    "see its log and PLATEMILL_TRITON_ADDRESS"
                )
            time.sleep(0.2)
        with self._lock:
            old, self._model = self._model, None
            self._model = self._client(address, slots=self._settings.images_in_flight)
        if old is not None:
            old.close()

    def recognise(self, key: str, images: list[PlannedImage]) -> Outcome:
        """Recognise one shard and record it; the result of an attempt that lost is thrown away."""
        started = time.monotonic()
        error = None
        try:
            self._recognise_shard(key, images)
        except PlatemillError as raised:
            error = raised
        finally:
            with self._lock:
                self._counts.pop(key, None)
        return Outcome(key, time.monotonic() - started, error)

    def close(self) -> None:
        """Give back what the server and the archives hold for this worker."""
        with self._lock:
            model, self._model = self._model, None
        if model is not None:
            model.close()
        self._reader.close()

    def counts(self) -> dict[str, tuple[int, dict[str, int]]]:
        """``(plates, images by status)`` so far, of the shards that are being worked on."""
        with self._lock:
            return {
                key: (count.plates, dict(count.by_status)) for key, count in self._counts.items()
            }

    def _recognise_shard(self, key: str, images: list[PlannedImage]) -> None:
        from platemill.archive.decode import decode_image

        settings = self._settings
        with self._lock:
            counts = self._counts[key] = _Counts()
            model = self._model
        feed: Feed[Any, Any] = Feed(self._turnstile)
        with feed:
            results: Any = self._recognise(
                feed.images(images),
                self._reader.read,
                lambda data: decode_image(data, settings.max_image_pixels),
                model,
                in_flight=settings.images_in_flight,
                run_id=self._run_id,
                pipeline_version=self._pipeline_version,
                now=lambda: dt.datetime.now(dt.UTC),
            )
            # Closed here, not whenever: its threads end before the next shard counts on room.
            with contextlib.closing(results):
                counted = self._counted(feed.results(results), counts)
                self._write_shard(self._lake, key, counted)

    def _counted(self, results: Any, counts: _Counts) -> Any:
        for result in results:
            with self._lock:
                counts.plates += len(result.plates)
                status = result.status.value
                counts.by_status[status] = counts.by_status.get(status, 0) + 1
            yield result
