"""How a feature view lies in the SQLite online store: a row a key. Knows nothing of Feast.

Feast's own table has a row a feature and key, so that a key of ten features is read from ten rows,
and each of them repeats the key twice, in the table and in an index. Here all features of a key are
the columns of one row, in the order of the keys. Under the name of Feast's table stands an SQL view
that shows the rows as Feast lays them out: its own SQLite store reads them, by the primary key.

Times are whole seconds since 1970, as Feast writes them in UTC. A value is a serialised ``Value``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["PACKED_LAYOUT", "Packed", "RawRow"]

PACKED_LAYOUT = "packed-1"
"""Name of this layout; a store of another one is written from nothing."""

RawRow = tuple[int, int | None, tuple[bytes | None, ...]]
"""Event time and creation, in seconds, and the values of the features."""

# Fewer than SQLite takes parameters of one statement, in any build since 2020.
_KEYS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Packed:
    """A view's packed table.

    Attributes:
        name: the name of Feast's table of the view.
        features: the features' names, in their order.
    """

    name: str
    features: tuple[str, ...]

    @property
    def table(self) -> str:
        """The packed table's name, quoted."""
        return quoted(f"packed_{self.name}")

    def create(self, connection: sqlite3.Connection) -> None:
        """Create the table and the view, or bring those that are there up to the features."""
        given = [f"{quoted(name)} BLOB" for name in self.features]
        columns = ["entity_key BLOB PRIMARY KEY", "event_ts timestamp", "created_ts timestamp"]
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.table} ({', '.join(columns + given)}) WITHOUT ROWID"
        )
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({self.table})")}
        for name, column in zip(self.features, given, strict=True):
            if name not in there:
                connection.execute(f"ALTER TABLE {self.table} ADD COLUMN {column}")
        connection.execute(f"DROP VIEW IF EXISTS {quoted(self.name)}")
        connection.execute(
            f"CREATE VIEW {quoted(self.name)} (entity_key, feature_name, value, value_text, "
            f"vector_value, event_ts, created_ts) AS {' UNION ALL '.join(self._unpacked())}"
        )

    def _unpacked(self) -> Iterator[str]:
        for name in self.features:
            # A column that was added holds no value yet: to Feast that is a null.
            yield (
                f"SELECT entity_key, {_text(name)}, ifnull({quoted(name)}, X''), NULL, NULL, "
                f"event_ts, created_ts FROM {self.table}"
            )

    def drop(self, connection: sqlite3.Connection) -> None:
        """Drop both."""
        connection.execute(f"DROP VIEW IF EXISTS {quoted(self.name)}")
        connection.execute(f"DROP TABLE IF EXISTS {self.table}")

    def insert(self, features: Sequence[str] | None = None, *, new: bool = False) -> str:
        """The statement that writes a row: key, event time, creation and the features' values.

        Args:
            features: those that are given; the others of a row that is there stay.
            new: there is no row of the key yet; that it is so is not looked up.
        """
        names = self.features if features is None else features
        columns = ["entity_key", "event_ts", "created_ts", *map(quoted, names)]
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {self.table} ({', '.join(columns)}) VALUES ({places})"
        if new:
            return statement
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        return f"{statement} ON CONFLICT (entity_key) DO UPDATE SET {updates}"

    def delete(self, connection: sqlite3.Connection, keys: Iterable[bytes]) -> None:
        """Delete the rows of some keys."""
        rows = ((key,) for key in keys)
        connection.executemany(f"DELETE FROM {self.table} WHERE entity_key = ?", rows)

    def count(self, connection: sqlite3.Connection) -> int:
        """How many keys have a row."""
        return int(connection.execute(f"SELECT count(*) FROM {self.table}").fetchone()[0])

    def read(
        self,
        connection: sqlite3.Connection,
        keys: Sequence[bytes],
        features: Sequence[str] | None = None,
    ) -> dict[bytes, RawRow]:
        """The rows of some keys, by key; a key without a row is left out."""
        columns = self._columns(self.features if features is None else features)
        found: dict[bytes, RawRow] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            rows = connection.execute(
                f"SELECT {columns} FROM {self.table} "
                f"WHERE entity_key IN ({', '.join('?' * len(some))})",
                some,
            )
            for key, event, created, *values in rows:
                found[key] = (event, created, tuple(values))
        return found

    def scan(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        """All rows in the order of their keys: key, event time, creation, values."""
        columns = self._columns(self.features)
        return connection.execute(f"SELECT {columns} FROM {self.table} ORDER BY entity_key")

    @staticmethod
    def _columns(features: Sequence[str]) -> str:
        # Cast, a time is a number to a connection that makes datetimes of columns of its type.
        times = ["CAST(event_ts AS INTEGER)", "CAST(created_ts AS INTEGER)"]
        return ", ".join(["entity_key", *times, *map(quoted, features)])


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
