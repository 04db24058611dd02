"""Which shards wait, which are being worked on, and which were given up. Knows no executor."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

__all__ = ["ShardQueue"]


class ShardQueue:
    """Hands shards out one at a time; who is free takes the next.

    Args:
        keys: the shards, in the order in which they are handed out.
        max_attempts: how often a shard may fail before it is given up.
        max_deaths: at how many deaths a shard may have been there before it has to be isolated.
        max_losses: with how many nodes a shard may be lost before it is given up.
    """

    def __init__(
        self, keys: Iterable[str], max_attempts: int, max_deaths: int = 2, max_losses: int = 5
    ) -> None:
        self._waiting = deque(keys)
        self._max_attempts = max_attempts
        self._max_deaths = max_deaths
        self._max_losses = max_losses
        self._losses: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()
        self._running: set[str] = set()
        self.given_up: dict[str, str] = {}
        self.closed = False

    @property
    def waiting(self) -> int:
        """Shards that nobody works on yet."""
        return len(self._waiting)

    @property
    def finished(self) -> bool:
        """Nothing waits and nobody works."""
        return not self._waiting and not self._running

    def is_worked_on(self, key: str) -> bool:
        """Whether it was handed out and has come to no end."""
        return key in self._running

    def attempt(self, key: str) -> int:
        """Which attempt at a shard it is; from 1 on. Its isolation is one, however many steps."""
        return self._tries[key]

    def take(self) -> str | None:
        """Hand out the next shard; None if none waits."""
        if not self._waiting:
            return None
        key = self._waiting.popleft()
        self._tries[key] += 1
        self._running.add(key)
        return key

    def done(self, key: str) -> None:
        """A shard has its record."""
        self._running.discard(key)

    def failed(self, key: str, why: str) -> None:
        """An attempt failed: the shard waits again, or is given up after the last attempt."""
        self._failures[key] += 1
        if self._failures[key] >= self._max_attempts:
            self.give_up(key, why)
        else:
            self._wait_again(key)

    def died(self, key: str) -> bool:
        """A server or worker died while the shard was there, for whatever reason.

        Returns:
            Whether it has to be isolated: it counts as worked on until it is done or given up.
        """
        self._deaths[key] += 1
        if self._deaths[key] >= self._max_deaths:
            self._tries[key] += 1
            return True
        self._wait_again(key)
        return False

    def lost(self, key: str, why: str) -> None:
        """The node that worked on it is gone, which is no death by the shard and no attempt.

        It waits again, but not for ever: it may be what ends the nodes.
        """
        self._losses[key] += 1
        if self._losses[key] >= self._max_losses:
            lost = self._losses[key]
            self.give_up(key, f"{lost} nodes were lost while they worked on it, the last: {why}")
        else:
            self._wait_again(key)

    def give_back(self, key: str) -> None:
        """Who worked on it has to stop and is not to blame: it is handed out next."""
        self._running.discard(key)
        if not self.closed:
            self._waiting.appendleft(key)

    def close(self) -> int:
        """Hand out nothing more; what is being worked on may end. Returns how many waited."""
        waiting = len(self._waiting)
        self._waiting.clear()
        self.closed = True
        return waiting

    def give_up(self, key: str, why: str) -> None:
        """No further attempt is worth it."""
        self._running.discard(key)
        self.given_up[key] = why

    def _wait_again(self, key: str) -> None:
        self._running.discard(key)
        if not self.closed:
            # At the end: should the shard itself be the reason, the others come first.
            self._waiting.append(key)
