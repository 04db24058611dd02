"""How far a backfill is: a table that changes in a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from platemill.launch.progress import QUIET_SECONDS, Step
from platemill.observe.logs import say
from platemill.observe.rate import Rate

__all__ = ["COLUMNS", "BackfillProgress", "step_of", "table_of"]

COLUMNS: Final = ("part", "days", "images", "done", "state")
_OVER: Final = ("published", "nothing new", "budget spent", "failed", "stopped", "crashed")
_STYLES: Final = {"published": "green", "nothing new": "green", "running": "cyan", "waiting": "dim"}
_SHOWN: Final = 20


def table_of(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
    """The parts as a table for a terminal.

    Args:
        rows: as ``Backfill.rows`` gives them. Of very many those are shown that are neither over
            nor far from their turn.
        caption: a line below it.
    """
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("images", "done") else "left")
    for row in _shown(rows):
        style = _STYLES.get(row["state"], "red")
        state = row["state"] if row["error"] is None else f"{row['state']}: {row['error']}"
        cells = (row["run_id"].rpartition("-")[2], _days(row), f"{row['images']:,}")
        table.add_row(*cells, f"{row['done']:,}", f"[{style}]{escape(state)}[/]")
    return table


def step_of(rows: Sequence[Mapping[str, Any]], rate: Rate) -> Step:
    """How far all parts are together.

    Args:
        rows: as ``Backfill.rows`` gives them.
        rate: it is told how many images are done.
    """
    done, total = (sum(row[name] for row in rows) for name in ("done", "images"))
    rate.count(done)
    states = Counter(row["state"] for row in rows)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    text = f"backfill: {len(rows)} parts, {told}"
    left = rate.seconds_left(total)
    return Step("backfill", text, done, total, "images", rate.a_second(), left)


class BackfillProgress:
    """Shows on stderr how the parts stand.

    Args:
        tell: called with every step, too.
    """

    def __init__(self, tell: Callable[[Step], object]) -> None:
        self._tell = tell
        self._rate = Rate()
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._said: Step | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_why: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show it as it is now."""
        step = step_of(rows, self._rate)
        self._tell(step)
        if self._live is not None:
            self._live.update(table_of(rows, ", ".join(filter(None, (step.counts, step.speed)))))
        else:
            self._say(step)

    def _say(self, step: Step) -> None:
        last, now = self._said, time.monotonic()
        if last is not None:
            same = (last.text, last.done) == (step.text, step.done)
            # What a part has become is said at once, how far it is now and then.
            if same or (last.text == step.text and now - self._since < QUIET_SECONDS):
                return
        self._said, self._since = step, now
        fields = asdict(step)
        del fields["text"]
        say(__name__, str(step), **fields)


def _days(row: Mapping[str, Any]) -> str:
    first, last = row["first_day"], row["last_day"]
    return str(first) if first == last else f"{first} to {last} ({row['days']} days)"


def _shown(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if len(rows) <= _SHOWN:
        return rows
    failed = [row for row in rows if row["error"] is not None]
    rest = [row for row in rows if row["error"] is None and row["state"] not in _OVER]
    return (failed + rest)[:_SHOWN]
