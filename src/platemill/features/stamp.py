"""Which night an online store holds, said inside the store. Knows nothing of Feast."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, astuple, dataclass
from datetime import datetime
from pathlib import Path

from platemill.lake import Generation

__all__ = [
    "STAMP_KEY",
    "Stamp",
    "mark_written_by_hand",
    "read_stamp",
    "stamp_in",
    "stamp_of",
    "stamp_to_json",
    "was_written_by_hand",
    "write_stamp",
]

STAMP_KEY = b"platemill:stamp"
"""Where a Redis database has its stamp."""

_TABLE = "platemill_generation"
_BY_HAND = "platemill_written_by_hand"


@dataclass(frozen=True)
class Stamp:
    """What an online store was made from.

    Attributes:
        generation: the generation's number.
        run_id: its run: two runs may prepare the same number, one of them publishes it.
        pipeline_version: the version of all its rows.
        definitions: hash of the feature definitions that it was written under.
        created_at: the generation's time, UTC.
        lake: where its tiles are, for a store that several deployments could use.
    """

    generation: int
    run_id: str
    pipeline_version: str
    definitions: str
    created_at: datetime
    lake: str = ""

    def is_of(self, generation: Generation | None) -> bool:
        """Whether it stands for that generation."""
        return generation is not None and (self.generation, self.run_id) == (
            generation.number,
            generation.run_id,
        )


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of a SQLite store; None if there is none, or the store is not complete."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return stamp_in(database)
    except sqlite3.Error:
        return None


def stamp_in(database: sqlite3.Connection) -> Stamp | None:
    """The stamp of an open store; None if there is none."""
    try:
        row = database.execute(
            f"SELECT generation, run_id, pipeline_version, definitions, created_at FROM {_TABLE}"
        ).fetchone()
    except sqlite3.OperationalError:
        return None
    if row is None:
        return None
    number, run_id, pipeline, definitions, created = row
    return Stamp(number, run_id, pipeline, definitions, datetime.fromisoformat(created))


def write_stamp(path: Path, stamp: Stamp | None) -> None:
    """Stamp a SQLite store; None takes the stamp away while the store is being written."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        if stamp is not None:
            database.execute(
                f"CREATE TABLE {_TABLE} (generation INTEGER, run_id TEXT, pipeline_version TEXT, "
                "definitions TEXT, created_at TEXT)"
            )
            database.execute(
                f"INSERT INTO {_TABLE} VALUES (?, ?, ?, ?, ?)",
                (*astuple(stamp)[:4], stamp.created_at.isoformat()),
            )


def stamp_to_json(stamp: Stamp) -> bytes:
    """A stamp as a Redis database has it."""
    return json.dumps({**asdict(stamp), "created_at": stamp.created_at.isoformat()}).encode()


def stamp_of(said: bytes | None) -> Stamp | None:
    """The stamp that a Redis database has under ``STAMP_KEY``; None if there is none.

    Raises:
        ValueError: something else is there.
    """
    if said is None:
        return None
    try:
        fields = json.loads(said)
        return Stamp(**{**fields, "created_at": datetime.fromisoformat(fields["created_at"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"no stamp: {said[:80]!r}") from error


def mark_written_by_hand(database: sqlite3.Connection) -> None:
    """Remember that a store has rows that are not the tiles': the next night writes it anew."""
    database.execute(f"CREATE TABLE IF NOT EXISTS {_BY_HAND} (why TEXT)")


def was_written_by_hand(path: Path) -> bool:
    """Whether ``mark_written_by_hand`` was called for a store that can be read."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        asked = "SELECT count(*) FROM sqlite_schema WHERE name = ?"
        return bool(database.execute(asked, (_BY_HAND,)).fetchone()[0])
