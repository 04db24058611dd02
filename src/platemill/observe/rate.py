"""How fast something goes, and how long it will still take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Rate", "duration"]

_WINDOW_SECONDS = 60.0


class Rate:
    """The rate over the last minute, from counts as they come.

    It is measured from the first count that is higher than the one before it: what an earlier
    attempt did is no work of this one, and what starts does not work yet.

    Args:
        window_seconds: how far it looks back.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        window_seconds: float = _WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window = window_seconds
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()
        self._idle = True

    def count(self, done: int) -> None:
        """So many are done now. Fewer than before: something else is counted from here on."""
        now = self._clock()
        before = self._counts[-1][1] if self._counts else done
        if done < before or self._idle:
            self._idle = done <= before
            self._counts.clear()
        self._counts.append((now, done))
        # One count from before the window stays, so that the window is always covered.
        while len(self._counts) > 2 and self._counts[1][0] <= now - self._window:
            self._counts.popleft()

    def a_second(self) -> float | None:
        """How many a second now; it falls while no count comes. None: it cannot be said yet."""
        if not self._counts or self._counts[-1][1] == self._counts[0][1]:
            return None
        since, first = self._counts[0]
        seconds = self._clock() - since
        return (self._counts[-1][1] - first) / seconds if seconds > 0 else None

    def seconds_left(self, total: int) -> float | None:
        """How long the rest takes at this rate; None if that cannot be said."""
        rate = self.a_second()
        left = total - self._counts[-1][1] if self._counts else total
        return None if rate is None else max(0, left) / rate


def duration(seconds: float) -> str:
    """Seconds for people: ``0:07:30``, and days where there are any: ``2 d 03:00:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}"
