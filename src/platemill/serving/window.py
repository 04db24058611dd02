"""How many requests may be on their way to a model: as many as keep its queue short, not empty.

The bound follows what the server says of itself: how long requests waited in the model's queue
against how long they were worked on. A queue that is empty at times leaves an instance idle; a long
one only keeps images in memory. By Little's law n requests before k busy instances wait for
n / k - 1 times what one takes, so a wait of a quarter to all of that is a queue of a few requests,
however many instances or other clients there are.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["MOST_REQUESTS", "QueueTimes", "Window"]

MOST_REQUESTS: Final = 64
"""However empty a queue is, no more requests than this are on their way."""

_FIRST_REQUESTS: Final = 4
_SHORT, _LONG = 0.25, 1.0
_LEAST_ANSWERS: Final = 4


@dataclass(frozen=True)
class QueueTimes:
    """A server's statistics of a model since it was started: requests, and nanoseconds of all."""

    requests: int
    waited: int
    worked: int


class Window:
    """Lets a bounded number of requests through; use it in a ``with`` around each request.

    Args:
        requests: the bound to begin with.
    """

    def __init__(self, requests: int = _FIRST_REQUESTS) -> None:
        self.requests = requests
        self._inside = 0
        self._was_full = False
        self._room = threading.Condition()
        self._before: QueueTimes | None = None

    def __enter__(self) -> Self:
        with self._room:
            while self._inside >= self.requests:
                self._room.wait()
            self._inside += 1
            self._was_full |= self._inside == self.requests
        return self

    def __exit__(self, *_why: object) -> None:
        with self._room:
            self._inside -= 1
            self._room.notify()

    def follow(self, now: QueueTimes) -> None:
        """Set the bound by what the server says of the requests since it was asked last."""
        before = self._before
        if before is None or now.requests < before.requests:
            self._before = now
            return
        answered = now.requests - before.requests
        if answered < _LEAST_ANSWERS or now.worked <= before.worked:
            return
        self._before = now
        share = (now.waited - before.waited) / (now.worked - before.worked)
        with self._room:
            # A bound that was not reached has kept nobody waiting.
            if share < _SHORT and self._was_full:
                self.requests = min(self.requests + max(1, self.requests // 4), MOST_REQUESTS)
            elif share > _LONG:
                self.requests = max(self.requests - max(1, self.requests // 8), 1)
            self._was_full = self._inside >= self.requests
            self._room.notify_all()
