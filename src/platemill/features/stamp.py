"""Which night an online store holds, said inside its file. Knows nothing of Feast."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path

from platemill.lake import Generation

__all__ = ["Stamp", "read_stamp", "write_stamp"]

_TABLE = "platemill_generation"


@dataclass(frozen=True)
class Stamp:
    """What an online store was made from.

    Attributes:
        generation: the generation's number.
        run_id: its run: two runs may prepare the same number, one of them publishes it.
        pipeline_version: the version of all its rows.
        definitions: hash of the feature definitions that it was written under.
    """

    generation: int
    run_id: str
    pipeline_version: str
    definitions: str

    def is_of(self, generation: Generation | None) -> bool:
        """Whether it stands for that generation."""
        return generation is not None and (self.generation, self.run_id) == (
            generation.number,
            generation.run_id,
        )


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of an online store; None if there is none, or the store is not complete."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(
                f"SELECT generation, run_id, pipeline_version, definitions FROM {_TABLE}"
            ).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else Stamp(*row)


def write_stamp(path: Path, stamp: Stamp | None) -> None:
    """Stamp an online store; None takes the stamp away while the store is being written."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {_TABLE} (generation INTEGER, run_id TEXT, "
            "pipeline_version TEXT, definitions TEXT)"
        )
        database.execute(f"DELETE FROM {_TABLE}")
        if stamp is not None:
            database.execute(f"INSERT INTO {_TABLE} VALUES (?, ?, ?, ?)", astuple(stamp))
