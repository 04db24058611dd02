"""The client of a server's models: many requests in flight, tensors by reference."""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from platemill.errors import InferenceFailed, ServerHangs, ServerUnavailable
from platemill.serving.contracts import CONTRACTS, PLATE_RECOGNITION, ModelContract
from platemill.serving.frames import LARGEST_BYTES, Slot
from platemill.serving.reading import PlateReading
from platemill.serving.regions import sweep_frames

__all__ = ["Payload", "PlateClient", "TritonClient"]

_LOGGER = logging.getLogger(__name__)

# gRPC's own words for a server that is not there, overloaded or hung.
_HANGS = "DEADLINE_EXCEEDED"
_UNAVAILABLE = ("UNAVAILABLE", _HANGS, "CANCELLED", "RESOURCE_EXHAUSTED")
# A model's process is gone for good: no later image fares better, so none is to blame.
_STUB_ENDED = "Stub process"
_HEALTH_SECONDS = 10.0
_INPUT = PLATE_RECOGNITION.inputs[0]


@dataclass(frozen=True)
class Payload:
    """What a request carries: one tensor.

    name, datatype: as the contract says, ``BYTES`` for texts.
    plain: the tensor as it is sent when it goes over the wire.
    memory: uint8 of any shape, its bytes as they lie in shared memory.
    what: the images in words, for errors.
    """

    name: str
    datatype: str
    plain: NDArray[Any]
    memory: NDArray[np.uint8]
    what: str


class TritonClient:
    """Sends tensors to a server, by reference where it shares this machine; else over the wire.

    Any number of threads may ask at once. The answers are the same either way.

    Args:
        grpc_address: ``host:port``.
        slots: tensors in shared memory at once; one a thread is right, 0 turns it off.
        seconds: how long one request may take.
    """

    def __init__(self, grpc_address: str, *, slots: int, seconds: float = 120.0) -> None:
        from tritonclient.grpc import InferenceServerClient

        self._address = grpc_address
        self._seconds = seconds
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if grpc_address.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]"):
            options.append(("grpc.enable_http_proxy", 0))  # no proxy stands before loopback
        self._client: Any = InferenceServerClient(grpc_address, channel_args=options)
        # None stands for a slot that was not needed yet, or broke.
        self._slots: queue.LifoQueue[Slot | None] = queue.LifoQueue()
        for _ in range(slots):
            self._slots.put(None)
        self._shared = slots > 0
        self._count = slots
        if self._shared:
            sweep_frames()

    def ask(
        self,
        contract: ModelContract,
        payload: Payload,
        parameters: Mapping[str, int] | None = None,
    ) -> list[NDArray[Any]]:
        """Ask a model; its outputs in the contract's order.

        Raises:
            ServerUnavailable: the server does not answer; the same call may succeed later.
            ServerHangs: it took the request and gave no answer in `seconds`.
            InferenceFailed: the model failed on this.
        """
        size = payload.memory.nbytes
        if not self._shared or size > LARGEST_BYTES:
            return self._infer(contract, payload, None, parameters)
        slot = self._slots.get()
        try:
            if slot is not None and slot.size < size:
                self._drop(slot)
                slot = None
            if slot is None:
                slot = self._new_slot(size)
            if slot is None:
                return self._infer(contract, payload, None, parameters)
            try:
                return self._infer(contract, payload, slot, parameters)
            except InferenceFailed as error:
                if "shared memory" not in str(error):
                    raise
                # Another server answers at this address now; it never saw the region.
                self._drop(slot)
                slot = None
                return self._infer(contract, payload, None, parameters)
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Let the server forget the regions and close the connection. Idempotent."""
        for _ in range(self._count):
            if (slot := self._slots.get()) is not None:
                self._drop(slot)
        self._count = 0
        self._shared = False
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()

    def _new_slot(self, size: int) -> Slot | None:
        """A slot that holds `size` bytes; None if shared memory is refused."""
        from tritonclient.utils import InferenceServerException

        if not self._shared:
            return None
        try:
            return Slot(self._client, size)
        except InferenceServerException as error:
            if _status(error) in _UNAVAILABLE:
                raise self._unavailable(error) from None
            reason: Exception = error
        except OSError as error:
            reason = error
        self._shared = False
        _LOGGER.warning(
            "Triton at %s takes no shared memory (%s): frames go as plain tensors, which is slower",
            self._address,
            reason,
        )
        return None

    @staticmethod
    def _drop(slot: Slot) -> None:
        with contextlib.suppress(OSError):
            slot.close()

    def _infer(
        self,
        contract: ModelContract,
        payload: Payload,
        slot: Slot | None,
        parameters: Mapping[str, int] | None,
    ) -> list[NDArray[Any]]:
        from tritonclient.grpc import InferInput
        from tritonclient.utils import InferenceServerException

        given = InferInput(payload.name, list(payload.plain.shape), payload.datatype)
        if slot is None:
            given.set_data_from_numpy(np.ascontiguousarray(payload.plain))
        else:
            given.set_shared_memory(slot.name, slot.write(payload.memory))
        asked = {} if parameters is None else {"parameters": dict(parameters)}
        try:
            answer = self._client.infer(
                contract.name, [given], client_timeout=self._seconds, **asked
            )
        except InferenceServerException as error:
            if _status(error) == _HANGS:
                raise ServerHangs(
                    f"Triton at {self._address} gave no answer in {self._seconds:g} s on "
                    f"{payload.what} (PLATEMILL_TRITON_ANSWER_SECONDS)"
                ) from None
            if (
                _status(error) in _UNAVAILABLE
                or _STUB_ENDED in str(error.message())
                or not self._is_well()
            ):
                raise self._unavailable(error) from None
            raise InferenceFailed(
                f"{contract.name} failed on {payload.what}: {error.message()}"
            ) from None
        return [answer.as_numpy(output.name) for output in contract.outputs]

    def _is_well(self) -> bool:
        """Whether every model is ready. A server that is ending fails images that are good."""
        from tritonclient.utils import InferenceServerException

        try:
            return all(
                self._client.is_model_ready(name, client_timeout=_HEALTH_SECONDS)
                for name in CONTRACTS
            )
        except InferenceServerException:
            return False

    def _unavailable(self, error: Any) -> ServerUnavailable:
        return ServerUnavailable(
            f"Triton at {self._address} does not answer ({_status(error)}: {error.message()}); "
            "see its log and `platemill triton status`"
        )


class PlateClient(TritonClient):
    """Recognises one image a call; any number of threads may call at once.

    Frames go through system shared memory, in a ring of `slots` regions, where the server shares
    this machine; else, and for very large frames, as plain tensors.
    """

    def __call__(self, image: NDArray[np.uint8]) -> PlateReading:
        """Recognise an image, uint8 [H, W, 3] in BGR.

        Raises:
            ServerUnavailable: the server does not answer; the same call may succeed later.
            ServerHangs: it took the image and gave no answer in `seconds`.
            InferenceFailed: a model failed on this image.
        """
        what = f"an image of {list(image.shape)}"
        payload = Payload(_INPUT.name, _INPUT.datatype, image, image, what)
        boxes, texts, raw_texts, confidences, scores = self.ask(PLATE_RECOGNITION, payload)
        return PlateReading(
            boxes=boxes,
            texts=[text.decode() for text in texts[:, 0]],
            raw_texts=[text.decode() for text in raw_texts[:, 0]],
            confidences=confidences[:, 0],
            detection_scores=scores[:, 0],
        )


def _status(error: Any) -> str:
    """The gRPC status of an ``InferenceServerException``: ``UNAVAILABLE``, say."""
    return str(error.status()).removeprefix("StatusCode.")
