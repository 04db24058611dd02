"""Where the time of a photo goes: stages of the client, and models by the server's own count."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from platemill.errors import ServerUnavailable
from platemill.serving.contracts import CONTRACTS

__all__ = ["Stopwatch", "model_seconds"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_SECONDS = 30.0


class Stopwatch:
    """Adds up the time that is spent in each stage, over all threads."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def timed(self, stage: str, call: Callable[_P, _T]) -> Callable[_P, _T]:
        """The same function, its time counted for the stage."""

        def count(*args: _P.args, **named: _P.kwargs) -> _T:
            began = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                spent = time.perf_counter() - began
                with self._lock:
                    self._seconds[stage] += spent  # type: ignore[assignment]

        return count

    def seconds(self) -> dict[str, float]:
        """What was spent in each stage so far."""
        with self._lock:
            return dict(self._seconds)


def model_seconds(grpc_address: str) -> dict[str, float]:
    """What every served model has taken since its server started, by Triton's statistics.

    A request's time runs from its arrival to its answer. That of ``plate_recognition`` holds
    the other three's.

    Raises:
        ServerUnavailable: the server does not answer.
    """
    import tritonclient.grpc as triton

    no_proxy = [("grpc.enable_http_proxy", 0)]
    try:
        with triton.InferenceServerClient(grpc_address, channel_args=no_proxy) as client:
            answer: dict[str, Any] = client.get_inference_statistics(
                as_json=True, client_timeout=_SECONDS
            )
    except triton.InferenceServerException as error:
        raise ServerUnavailable(
            f"Triton at {grpc_address} gives no statistics: {error.message()}"
        ) from None
    return {
        model["name"]: int(model["inference_stats"]["success"].get("ns", 0)) / 1e9
        for model in answer.get("model_stats", [])
        if model["name"] in CONTRACTS
    }
