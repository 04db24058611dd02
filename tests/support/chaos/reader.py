"""A reader in a process of its own: a stock DuckDB that counts rows while nights are killed.

``python -m chaos.reader loop`` opens ``warehouse.duckdb`` again and again; ``keep`` opens it once
and counts at the end what it still sees. Both take ``{"start": path}`` and ``{"stop": true}``.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from chaos.talk import Child

__all__ = ["UNCOUNTED", "Reader", "Seen", "state_of"]

UNCOUNTED = "run_costs"
"""The table whose rows are not counted: what killed nights took is in it, too."""

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Seen:
    """What a reader saw: its reads, the states, and what went wrong."""

    reads: int
    states: list[list[Any]]
    errors: list[str]


class Reader(Child):
    """A reader's process, ``loop`` or ``keep``. Use it in a ``with``."""

    def __init__(self, kind: str) -> None:
        super().__init__("chaos.reader", kind)

    def start(self, warehouse: Path) -> None:
        """Begin to read; there need not be a file yet."""
        self.ask({"start": str(warehouse)})

    def stop(self) -> Seen:
        """End reading; what was seen."""
        return Seen(**self.ask({"stop": True}))


def state_of(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    """The generation, how many rows the tables have, and whether plates and recognitions agree."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"
        ).fetchall()
        if name != UNCOUNTED
    ]
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in names)
    rows = sorted(connection.execute(counts).fetchall())
    [(generation,)] = connection.execute("SELECT generation FROM generation").fetchall()
    [(agree,)] = connection.execute(
        "SELECT (SELECT coalesce(sum(plates), 0) FROM images) = (SELECT count(*) FROM recognitions)"
    ).fetchall()
    return [generation, [list(row) for row in rows], agree]


class _Loop:
    """Opens the file anew for every look."""

    def __init__(self, warehouse: Path) -> None:
        self._warehouse = warehouse
        self._states: dict[str, list[Any]] = {}
        self._errors: list[str] = []
        self._reads = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(_PAUSE_SECONDS):
            self._look()

    def _look(self) -> None:
        if not self._warehouse.exists():
            return
        try:
            with duckdb.connect(str(self._warehouse), read_only=True) as connection:
                state = state_of(connection)
        except duckdb.Error as error:
            self._errors.append(f"{type(error).__name__}: {error}"[:300])
            return
        self._reads += 1
        self._states[json.dumps(state)] = state

    def stop(self) -> dict[str, Any]:
        self._end.set()
        self._thread.join()
        self._look()
        return {
            "reads": self._reads,
            "states": list(self._states.values()),
            "errors": self._errors[:5],
        }


class _Keep:
    """Holds the file that was there at the start, and its view of the lake, to the end."""

    def __init__(self, warehouse: Path) -> None:
        self._connection = None
        if warehouse.exists():
            self._connection = duckdb.connect(str(warehouse), read_only=True)
            self._before = state_of(self._connection)

    def stop(self) -> dict[str, Any]:
        if self._connection is None:
            return {"reads": 0, "states": [], "errors": []}
        states, errors = [self._before], []
        try:
            after = state_of(self._connection)
            if after != self._before:
                states.append(after)
        except duckdb.Error as error:
            errors.append(f"{type(error).__name__}: {error}"[:300])
        self._connection.close()
        return {"reads": 2, "states": states, "errors": errors}


def _main() -> int:
    kind = {"loop": _Loop, "keep": _Keep}[sys.argv[1]]
    reading: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        if "start" in order:
            reading = kind(Path(order["start"]))
        else:
            answer = reading.stop()
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
