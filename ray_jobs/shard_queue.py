"""Which shards wait, which are being worked on, and which were given up. Knows no executor."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

__all__ = ["ShardQueue"]


class ShardQueue:
    """Hands shards out one at a time; who is free takes the next.

    Args:
        keys: the shards, in the order in which they are handed out.
        max_attempts: how often a shard is handed out before it is given up.
    """

    def __init__(self, keys: Iterable[str], max_attempts: int) -> None:
        self._waiting = deque(keys)
        self._max_attempts = max_attempts
        self._attempts: Counter[str] = Counter()
        self._running: set[str] = set()
        self.given_up: dict[str, str] = {}

    @property
    def waiting(self) -> int:
        """Shards that nobody works on yet."""
        return len(self._waiting)

    @property
    def finished(self) -> bool:
        """Nothing waits and nobody works."""
        return not self._waiting and not self._running

    def take(self) -> str | None:
        """Hand out the next shard; None if none waits."""
        if not self._waiting:
            return None
        key = self._waiting.popleft()
        self._attempts[key] += 1
        self._running.add(key)
        return key

    def done(self, key: str) -> None:
        """A shard has its record."""
        self._running.discard(key)

    def failed(self, key: str, why: str) -> None:
        """An attempt failed: the shard waits again, or is given up after the last attempt."""
        self._running.discard(key)
        if self._attempts[key] >= self._max_attempts:
            self.given_up[key] = why
        else:
            # At the end: should the shard itself be the reason, the others come first.
            self._waiting.append(key)
