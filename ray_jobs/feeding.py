"""How two shards share one worker: the next one's reading overlaps with the last one's writing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Feed", "Turnstile"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turnstile:
    """Lets one shard at a time feed its images in, and bounds the images of all together.

    Only the shard at the turnstile waits for room, and the room is made by those that went
    through before, so they never wait for one another.

    Args:
        room: images that may be between the turnstile and their rows.
    """

    def __init__(self, room: int) -> None:
        self.gate = threading.Lock()
        self.room = threading.Semaphore(room)


class Feed(Generic[Item, Result]):
    """A shard's way through the turnstile. Use it in a ``with``, which gives back what is held.

    Args:
        turnstile: the worker's.
    """

    def __init__(self, turnstile: Turnstile) -> None:
        self._turnstile = turnstile
        self._inside = 0
        self._lock = threading.Lock()
        self._at_gate = False

    def __enter__(self) -> Feed[Item, Result]:
        return self

    def __exit__(self, *_why: object) -> None:
        self._leave_gate()
        with self._lock:
            held, self._inside = self._inside, 0
        for _ in range(held):
            self._turnstile.room.release()

    def images(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each when there is room for it."""
        self._turnstile.gate.acquire()
        self._at_gate = True
        for item in items:
            self._turnstile.room.acquire()
            with self._lock:
                self._inside += 1
            yield item
        self._leave_gate()

    def results(self, results: Iterable[Result]) -> Iterator[Result]:
        """The results; each makes room for another image."""
        for result in results:
            with self._lock:
                self._inside -= 1
            self._turnstile.room.release()
            yield result

    def _leave_gate(self) -> None:
        if self._at_gate:
            self._at_gate = False
            self._turnstile.gate.release()
