"""A stage's progress as a Prefect artifact, with its rate and the time left."""

from __future__ import annotations

import contextvars
import threading
from typing import Any, Self

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from platemill.launch.progress import Step

__all__ = ["ProgressPage"]

_EVERY_SECONDS = 5.0
_LAST_SECONDS = 10.0


class ProgressPage:
    """Keeps one artifact of the task run up to date, every five seconds at most.

    A thread of its own talks to Prefect, so that an API that is slow or gone costs the stage
    nothing; the first failure is logged, none is raised.

    Args:
        key: the artifact's key: lower-case letters, digits and dashes.
        log: called with a line if the API fails.
        every_seconds: how long the artifact may be old.
    """

    def __init__(self, key: str, log: Any, every_seconds: float = _EVERY_SECONDS) -> None:
        self._key = key
        self._log = log
        self._every = every_seconds
        self._step: Step | None = None
        self._shown: Step | None = None
        self._artifact: Any = None
        self._failed = False
        self._ended = threading.Event()
        # The artifact is the task run's, which Prefect knows by the context.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name=f"artifact {key}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._ended.set()
        self._thread.join(_LAST_SECONDS)

    def show(self, step: Step) -> None:
        """Show this step, soon."""
        self._step = step

    def _work(self) -> None:
        over = False
        while not over:
            over = self._ended.wait(self._every if self._shown is not None else 0.2)
            step = self._step
            if step is not None and step is not self._shown:
                self._shown = step
                self._put(step)

    def _put(self, step: Step) -> None:
        share = min(100.0, 100.0 * step.done / step.total) if step.total else 0.0
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(share, self._key, str(step))
            else:
                update_progress_artifact(self._artifact, share, str(step))
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._log("the progress artifact cannot be kept: %s", error)
