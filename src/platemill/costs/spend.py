"""What a night has spent so far, asked by its job while it runs, from the journal alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from platemill.costs.actual import node_seconds
from platemill.costs.events import run_times
from platemill.costs.prices import Prices
from platemill.journal import JOURNAL

__all__ = ["Spend"]

_ASK_SECONDS: Final = 5.0
# What decides how long nodes were up. Shards do not, and there may be very many.
_ASKED: Final = frozenset({"stage", "stage_failed", "estimate", "node_up", "node_down"})


class Spend:
    """Compares what a run has spent with its budget.

    Args:
        folder: the run's; the journal's ``estimate`` says budget and prices.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._read = 0
        self._events: list[dict[str, Any]] = []
        self._asked = float("-inf")
        self._is_over = False

    @property
    def has_budget(self) -> bool:
        """Whether there is anything to compare with."""
        return self.spent(time.time()) is not None

    def spent(self, now: float) -> tuple[float, float, float] | None:
        """``(spent, reserve, budget)``: up to now, and what the stages to come are to cost.

        None if there is no budget.

        Args:
            now: seconds since 1970.
        """
        self._read_on()
        if not self._events:
            return None
        times = run_times(self._events, now)
        if times.estimated is None or times.estimated.budget is None:
            return None
        prices = Prices.from_json(times.estimated.prices)
        spent = sum(prices.at_most(kind, s) for kind, s in node_seconds(times).items())
        return spent, times.estimated.reserve, times.estimated.budget

    def is_over(self) -> bool:
        """Whether nothing more may be started. Asks at most every five seconds, once over stays."""
        if not self._is_over and time.monotonic() - self._asked >= _ASK_SECONDS:
            self._asked = time.monotonic()
            found = self.spent(time.time())
            self._is_over = found is not None and found[0] + found[1] > found[2]
        return self._is_over

    def _read_on(self) -> None:
        """Take in what was written since; half a line waits for its other half."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                fresh = file.read()
        except FileNotFoundError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.split(b"\n"):
            try:
                event = json.loads(line)
                if event["event"] in _ASKED:
                    self._events.append(event)
            except (ValueError, KeyError, TypeError):
                continue
