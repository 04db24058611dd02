"""A run's sign of life in its folder: by it a crashed flow is seen, and its job ends itself.

The process that leads a run writes ``heartbeat.json`` again and again, and removes it when it ends,
well or not. If it is killed the file stays, and says who it was and until when it lived. On the
same machine the kernel knows at once whether that process is there; from another one it is dead
when its counter stood still for as long as it asked to be believed, by the clock of whoever
watches.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from platemill.documents import write_json
from platemill.errors import FlowLost
from platemill.processes import ProcessIdentity

__all__ = ["Heartbeat", "Pulse", "Watch", "read_pulse"]

_FILE = "heartbeat.json"
_BEATS = 6


@dataclass(frozen=True)
class Pulse:
    """What the leader of a run said last.

    Attributes:
        host: its machine's name.
        process: its process.
        seconds: how long others are to believe in its life without a beat.
        at: when it said so, ISO 8601 in UTC, by its own clock; for people.
        beat: a counter.
    """

    host: str
    process: ProcessIdentity
    seconds: float
    at: str
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether its process belongs to this machine, so that its end can be seen."""
        return self.process.is_here()

    def is_dead(self) -> bool:
        """Whether its process is certainly gone, or has said nothing for too long by our clock."""
        if self.is_here:
            return self.process.is_gone()
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.at)
        return age.total_seconds() > self.seconds


def read_pulse(folder: Path) -> Pulse | None:
    """The last word of a run's leader; None if none is at work, or none was killed at it."""
    try:
        said: dict[str, Any] = json.loads((folder / _FILE).read_text())
    except FileNotFoundError:
        return None
    return Pulse(**{**said, "process": ProcessIdentity(**said["process"])})


class Heartbeat:
    """This process leads a run, as long as the context lasts.

    Args:
        folder: the run's.
        seconds: how long others are to believe in its life without a beat.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._path = folder / _FILE
        self._pulse = Pulse(socket.gethostname(), ProcessIdentity.own(), seconds, _now())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        if self._stop.is_set():
            return
        self.leave()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Beat no more, but do not end: another process goes on with the run."""
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._stop.wait(self._pulse.seconds / _BEATS):
            self._pulse = replace(self._pulse, beat=self._pulse.beat + 1, at=_now())
            self._write()

    def _write(self) -> None:
        # On a full disk a run has other worries.
        with contextlib.suppress(OSError):
            write_json(self._path, asdict(self._pulse))


class Watch:
    """Watches the leader of a run from a process that works for it.

    Args:
        folder: the run's.
        clock: what silence is measured with.
        every: seconds between two looks; ``check`` does nothing in between.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic, every: float = 0.0
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._every = every
        self._last = read_pulse(folder)
        self._silent = 0.0
        self._looked = clock()

    def check(self) -> None:
        """Raise unless the leader lives; nothing is asked if there was none at the beginning.

        Raises:
            FlowLost: it is gone, or was silent for as long as it asked to be believed.
        """
        last = self._last
        if last is None or (passed := self._clock() - self._looked) < self._every:
            return
        self._looked += passed
        now = read_pulse(self._folder)
        if now is None:
            raise FlowLost(f"the flow of {self._folder.name} ({last}) has ended; {_KEPT}")
        if now.is_here and now.process.is_gone():
            raise FlowLost(f"the flow of {self._folder.name} ({now}) was killed; {_KEPT}")
        if now != last:
            self._last, self._silent = now, 0.0
            return
        # Who did not look for long has slept, most likely with the whole machine.
        self._silent += min(passed, now.seconds / _BEATS)
        if self._silent > now.seconds:
            raise FlowLost(
                f"the flow of {self._folder.name} ({now}) is silent for {now.seconds:g} s, the "
                f"last beat was at {now.at}; {_KEPT}"
            )


_KEPT = "its job ends itself. Run again: what was recognised is kept"


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
