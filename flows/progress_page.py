"""Progress as Prefect artifacts: a stage's with its rate and the time left, and a table."""

from __future__ import annotations

import contextvars
import json
import threading
from typing import Any, Generic, Self, TypeVar

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from platemill.launch.progress import Step

__all__ = ["ProgressPage", "TablePage"]

_Shown = TypeVar("_Shown")

_EVERY_SECONDS = 5.0
_LAST_SECONDS = 10.0


class _Page(Generic[_Shown]):
    """Keeps one artifact up to date, every few seconds at most.

    A thread of its own talks to Prefect, so that an API that is slow or gone costs the work
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
        self._next: _Shown | None = None
        self._shown: _Shown | None = None
        self._artifact: Any = None
        self._failed = False
        self._ended = threading.Event()
        # The artifact is the task run's, or the flow run's, which Prefect knows by the context.
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

    def _work(self) -> None:
        over = False
        while not over:
            over = self._ended.wait(self._every if self._shown is not None else 0.2)
            shown = self._next
            if shown is not None and shown != self._shown:
                self._shown = shown
                self._try_to_put(shown)

    def _try_to_put(self, shown: _Shown) -> None:
        try:
            self._put(shown)
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._log("the progress artifact cannot be kept: %s", error)

    def _put(self, shown: _Shown) -> None:
        raise NotImplementedError


class ProgressPage(_Page[Step]):
    """How far a stage is, as a bar of its task run."""

    def show(self, step: Step) -> None:
        """Show this step, soon."""
        self._next = step

    def _put(self, step: Step) -> None:
        share = min(100.0, 100.0 * step.done / step.total) if step.total else 0.0
        if self._artifact is None:
            self._artifact = create_progress_artifact(share, self._key, str(step))
        else:
            update_progress_artifact(self._artifact, share, str(step))


class TablePage(_Page[tuple[str, list[dict[str, Any]]]]):
    """A table of the flow run that changes."""

    def show(self, description: str, rows: list[dict[str, Any]]) -> None:
        """Show these rows, soon."""
        self._next = description, rows

    def _put(self, shown: tuple[str, list[dict[str, Any]]]) -> None:
        description, rows = shown
        if self._artifact is None:
            self._artifact = create_table_artifact(rows, self._key, description)
            return
        changed = ArtifactUpdate(data=json.dumps(rows), description=description)
        with get_client(sync_client=True) as client:
            client.update_artifact(self._artifact, changed)
