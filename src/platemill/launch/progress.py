"""A stage's progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status

from platemill.launch.records import JobProgress

if TYPE_CHECKING:
    from platemill.features.write import OnlineProgress

__all__ = ["StageProgress", "WaitProgress"]

_QUIET_SECONDS = 5.0
_QUIET_WAIT_SECONDS = 60.0


class StageProgress:
    """Shows how far a stage is.

    Args:
        stage: its name.
        of: what is counted.
    """

    def __init__(self, stage: str, of: str = "images") -> None:
        self._stage = stage
        self._of = of
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(of),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=None)
        self._said = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._bar.stop()

    def update(self, progress: JobProgress) -> None:
        """Show how far the job is."""
        text = f"{self._stage}: {progress.plates:,} plates, {progress.quarantined:,} quarantined"
        self._show(text, progress.images_done, progress.images_total)

    def update_rows(self, progress: OnlineProgress) -> None:
        """Show how far the writing of an online view is."""
        self._show(f"{self._stage}: {progress.view}", progress.done, progress.total)

    def _show(self, text: str, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total or None, description=text)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _QUIET_SECONDS:
            self._said = now
            print(f"{text}, {done:,} of {total:,} {self._of}", file=sys.stderr, flush=True)


class WaitProgress:
    """Shows on stderr what a run waits for: a line that changes in a terminal, else one a minute.

    Nothing is shown unless ``update`` is called.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, text: str) -> None:
        """Show what it waits for now."""
        now = time.monotonic()
        if not self._console.is_terminal:
            if now - self._said >= _QUIET_WAIT_SECONDS:
                self._said = now
                print(text, file=sys.stderr, flush=True)
        elif self._status is None:
            self._status = self._console.status(escape(text))
            self._status.start()
        else:
            self._status.update(escape(text))
