"""A stage's progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from platemill.launch.records import JobProgress

__all__ = ["StageProgress"]

_QUIET_SECONDS = 5.0


class StageProgress:
    """Shows how far a stage is.

    Args:
        stage: its name.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, progress: JobProgress) -> None:
        """Show how far the job is."""
        done, total = progress.images_done, progress.images_total
        text = f"{self._stage}: {progress.plates:,} plates, {progress.quarantined:,} quarantined"
        self._bar.update(self._task, completed=done, total=total or None, description=text)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _QUIET_SECONDS:
            self._said = now
            print(f"{text}, {done:,} of {total:,} images", file=sys.stderr, flush=True)
