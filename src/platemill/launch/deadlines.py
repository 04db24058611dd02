"""A stage that takes too long is stopped, for real: first by an exception, then with its process.

Neither a timeout of Prefect's nor a signal interrupts a call into a library that does not return.
So a watchdog thread raises an exception in the stage's thread, which stops whatever is in Python:
waiting for a job, which is stopped on the way out, or for a server. DuckDB's queries are
interrupted besides. What is still there after a grace, in a file system that hangs say, cannot be
stopped but with the process: everything that the process started ends with it (its Ray, by the
keeper; its Triton, by the supervisor), and a night may be killed anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from platemill.errors import StageTimeout
from platemill.warehouse.duck import interrupt_queries

__all__ = ["Interrupted", "deadline", "interrupt"]

_LOG = logging.getLogger(__name__)
_GRACE_SECONDS = 30.0


class Interrupted(BaseException):
    """Raised in a thread by another one. No handler of errors takes it for an error."""

    def __str__(self) -> str:
        return "it took too long or was cancelled, and was stopped"


def interrupt(thread: int) -> None:
    """Raise ``Interrupted`` in a thread as soon as it runs Python code again.

    Args:
        thread: its ``threading.get_ident()``.
    """
    _raise_in(thread, Interrupted)


@contextlib.contextmanager
def deadline(
    stage: str,
    seconds: float | None,
    on_stuck: Callable[[StageTimeout], object] | None = None,
    grace_seconds: float = _GRACE_SECONDS,
) -> Iterator[None]:
    """Stop what is done inside after some seconds.

    Args:
        stage: its name, for the error.
        seconds: how long it may take; None for as long as it likes.
        on_stuck: called in another thread if the stage does not end by itself in the grace; the
            process ends when it returns. Default: nothing is done before that.
        grace_seconds: how long it may take to end when it was told to.

    Raises:
        StageTimeout: it took too long, and was stopped.
    """
    if seconds is None:
        yield
        return
    watchdog = _Watchdog(stage, seconds, on_stuck, grace_seconds)
    with watchdog:
        yield


class _Watchdog:
    def __init__(
        self,
        stage: str,
        seconds: float,
        on_stuck: Callable[[StageTimeout], object] | None,
        grace_seconds: float,
    ) -> None:
        self._stage = stage
        self._seconds = seconds
        self._on_stuck = on_stuck
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._fired = False
        self._thread = threading.get_ident()

    @property
    def _error(self) -> StageTimeout:
        return StageTimeout(
            f"stage {self._stage} took longer than {self._seconds:g} s and was stopped; what was "
            "recognised is kept, and a rerun goes on from there. If it needs that long, raise it: "
            f"PLATEMILL_STAGE_TIMEOUTS={self._stage}=SECONDS (0 for no limit)"
        )

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name=f"deadline-{self._stage}", daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        with self._lock:
            self._ended.set()
            fired = self._fired
        if not fired:
            return
        if kind is None or kind is not Interrupted:
            # It may be on its way still; the stage came to its end before.
            _raise_in(self._thread, None)
        if kind is not None:
            raise self._error from None

    def _watch(self) -> None:
        if self._ended.wait(self._seconds):
            return
        with self._lock:
            if self._ended.is_set():
                return
            self._fired = True
            _LOG.warning("%s", self._error)
            interrupt(self._thread)
        ended = False
        deadline = time.monotonic() + self._grace_seconds
        while not ended and time.monotonic() < deadline:
            interrupt_queries(self._thread)
            ended = self._ended.wait(1.0)
        if ended:
            return
        try:
            if self._on_stuck is not None:
                self._on_stuck(self._error)
        finally:
            os._exit(StageTimeout.exit_code)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    raised = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
