"""A small server that speaks Triton's gRPC protocol and answers for ``plate_recognition``.

The model is a function of the pixels that a test can compute too. It stands where a real server
would only add minutes: in tests of who asks, not of what is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

from platemill.serving.contracts import CONTRACTS

__all__ = ["SmallServer", "plates_of"]


def plates_of(image: NDArray[np.uint8]) -> list[str]:
    """The plates that the server sees in an image: none, one or two, by its first pixel."""
    first = int(image[0, 0, 0])
    return [f"A{first:03d}BC{number:02d}" for number in range(first % 3)]


class SmallServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The server. Shared memory is refused, so that clients send plain tensors.

    Args:
        seconds: how long an image takes.
        port: where it listens; 0 for any free port.
    """

    def __init__(self, seconds: float = 0.0, port: int = 0) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self.images = 0
        self._server = grpc.server(
            ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)]
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop(0).wait()

    def __enter__(self) -> SmallServer:
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name in CONTRACTS)

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no shared memory here")

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        shape = tuple(request.inputs[0].shape)
        image = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        time.sleep(self._seconds)
        with self._lock:
            self.images += 1
        plates = plates_of(image)
        boxes = np.array([[n, n, n + 2, n + 1] for n in range(len(plates))], np.float32)
        shares = np.full((len(plates), 1), 0.5, np.float32)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name, datatype, array in (
            ("coordinates", "FP32", boxes.reshape(-1, 4)),
            ("texts", "BYTES", _texts(plates)),
            ("raw_texts", "BYTES", _texts(plates)),
            ("confidences", "FP32", shares),
            ("detection_scores", "FP32", shares),
        ):
            response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            raw = serialize_byte_tensor(array).item() if datatype == "BYTES" and plates else b""
            response.raw_output_contents.append(array.tobytes() if datatype == "FP32" else raw)
        return response


def _texts(plates: Sequence[str]) -> NDArray[np.object_]:
    return np.array([plate.encode() for plate in plates], np.object_).reshape(-1, 1)
