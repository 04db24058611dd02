"""A stage's progress, its rate and the time left: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.status import Status
from rich.text import Text

from platemill.launch.records import JobProgress
from platemill.observe.logs import say
from platemill.observe.rate import Rate, duration

if TYPE_CHECKING:
    from platemill.features.write import OnlineProgress

__all__ = ["QUIET_SECONDS", "StageProgress", "Step", "WaitProgress"]

QUIET_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""

_QUIET_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Step:
    """How far a stage is.

    Attributes:
        stage: its name.
        text: what it does, for people.
        done: how many of ``total``.
        total: of what is counted; 0 while that is not known.
        of: what is counted.
        a_second: rate over the last minute; None while it cannot be said.
        seconds_left: at this rate; None while it cannot be said.
    """

    stage: str
    text: str
    done: int
    total: int
    of: str
    a_second: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.text}, {self.counts}", self.speed)))

    @property
    def counts(self) -> str:
        """``1,200 of 50,000 images``."""
        return f"{self.done:,} of {self.total:,} {self.of}"

    @property
    def speed(self) -> str:
        """``41.3 images/s, 0:19:45 left``; empty while it cannot be said."""
        if self.a_second is None or self.seconds_left is None:
            return ""
        digits = 1 if self.a_second < 100 else 0
        rate = f"{self.a_second:,.{digits}f} {self.of}/s"
        return f"{rate}, {duration(self.seconds_left)} left"


class StageProgress:
    """Shows how far a stage is, how fast it goes and how long it will still take.

    Args:
        stage: its name.
        of: what is counted.
        tell: called with every step, too.
    """

    def __init__(
        self,
        stage: str,
        of: str = "images",
        *,
        tell: Callable[[Step], object] | None = None,
    ) -> None:
        self._stage = stage
        self._of = of
        self._tell = tell
        self._rate = Rate()
        self._step: Step | None = None
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(of),
            TimeElapsedColumn(),
            _Speed(lambda: self._now()),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=None)
        self._said = 0.0
        self._unsaid = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._bar.stop()
        # The last step is said, however short the time since the one before.
        self._say()

    def update(self, progress: JobProgress) -> None:
        """Show how far the job is."""
        text = f"{self._stage}: {progress.plates:,} plates, {progress.quarantined:,} quarantined"
        self._show(text, progress.images_done, progress.images_total)

    def update_rows(self, progress: OnlineProgress) -> None:
        """Show how far the writing of an online view is."""
        self._show(f"{self._stage}: {progress.view}", progress.done, progress.total)

    def _show(self, text: str, done: int, total: int) -> None:
        self._rate.count(done)
        self._step = self._measured(text, done, total)
        self._unsaid = True
        self._bar.update(self._task, completed=done, total=total or None, description=text)
        if self._tell is not None:
            self._tell(self._step)
        if time.monotonic() - self._said >= QUIET_SECONDS:
            self._say()

    def _measured(self, text: str, done: int, total: int) -> Step:
        rate, left = self._rate.a_second(), self._rate.seconds_left(total)
        return Step(self._stage, text, done, total, self._of, rate, left)

    def _now(self) -> Step | None:
        step = self._step
        return None if step is None else self._measured(step.text, step.done, step.total)

    def _say(self) -> None:
        step = self._step
        if step is None or not self._unsaid or self._console.is_terminal:
            return
        self._unsaid, self._said = False, time.monotonic()
        fields = asdict(step)
        del fields["text"]
        say(__name__, str(step), **fields)


class _Speed(ProgressColumn):
    """Rate and time left, as they are when the bar is drawn."""

    def __init__(self, now: Callable[[], Step | None]) -> None:
        super().__init__()
        self._now = now

    def render(self, task: Task) -> Text:
        step = self._now()
        return Text(step.speed if step is not None else "", style="progress.remaining")


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
