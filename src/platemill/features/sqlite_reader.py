"""Reads the packed SQLite online store without Feast: one statement for all views of an entity."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.features.packed import Packed, quoted
from platemill.features.reader import (
    EntityLayout,
    RawAnswer,
    definitions_differ,
    entity_keys,
    not_published,
)
from platemill.features.stamp import Stamp, stamp_in
from platemill.schema import Table

__all__ = ["SqliteReader"]

# Keys of a statement, at most. SQLite compiles a statement for each number of keys, and Python
# keeps the last of them: with powers of two there are eleven.
_KEYS_AT_ONCE = 1024
# A store is a file of a few gigabytes at most; its pages are read from the system's cache.
_MAPPED_BYTES = 1 << 36


class SqliteReader:
    """The published file, opened again when another night's stands in its place.

    Args:
        path: the online store.
        project: Feast's name of the project, which is in the tables' names.
    """

    def __init__(self, path: Path, project: str) -> None:
        self._path = path
        self._project = project
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._stamp: Stamp | None = None
        self._statements: dict[tuple[str, int], str] = {}
        with self._lock, self._errors():
            self._current()

    def read(self, layout: EntityLayout, keys: Sequence[str]) -> RawAnswer:
        """See ``OnlineReader``. A file holds one generation, for as long as it lives."""
        entities = entity_keys(layout, keys)
        with self._lock, self._errors():
            connection, stamp = self._current()
            rows: list[Sequence[Any]] = []
            for start in range(0, len(entities), _KEYS_AT_ONCE):
                rows += self._rows(connection, layout, entities[start : start + _KEYS_AT_ONCE])
        return RawAnswer(stamp, rows)

    def seconds(self, time: Any) -> int:
        """See ``OnlineReader``."""
        return int(time)

    def close(self) -> None:
        """See ``OnlineReader``."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._opened = None

    def _rows(
        self, connection: sqlite3.Connection, layout: EntityLayout, keys: list[bytes]
    ) -> list[Sequence[Any]]:
        # In their order, as they lie in the file; null is no key and costs nothing.
        asked = sorted(set(keys))
        places = 1 << (len(asked) - 1).bit_length()
        given = [*asked, *[None] * (places - len(asked))]
        found = connection.execute(self._statement(layout, places), given).fetchall()
        # SQL promises no order.
        by_key = {row[-1]: row for row in found}
        return [by_key[key] for key in keys]

    def _statement(self, layout: EntityLayout, places: int) -> str:
        name = (layout.kind.name, places)
        if name not in self._statements:
            views = [(f"v{n}", view.table) for n, view in enumerate(layout.views)]
            columns = [
                f"{alias}.{quoted(column)}"
                for alias, table in views
                for column in ("event_ts", *table.feature_names)
            ]
            joins = [
                f"LEFT JOIN {self._packed(table).table} {alias} ON {alias}.entity_key = k.column1"
                for alias, table in views
            ]
            asked = ", ".join(["(?)"] * places)
            self._statements[name] = (
                f"SELECT {', '.join(columns)}, k.column1 FROM (VALUES {asked}) k {' '.join(joins)}"
            )
        return self._statements[name]

    def _packed(self, table: Table) -> Packed:
        return Packed(f"{self._project}_{table.name}", table.feature_names)

    def _current(self) -> tuple[sqlite3.Connection, Stamp]:
        """The connection to the file that is there now, and whose it is."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise not_published(self._path) from None
        now = (status.st_dev, status.st_ino)
        if self._connection is None or self._stamp is None or now != self._opened:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._opened = None
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
            self._connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
            self._stamp = stamp_in(self._connection)
            if self._stamp is None:
                raise not_published(self._path)
            self._opened = now
        return self._connection, self._stamp

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                raise definitions_differ(str(self._path), str(error)) from error
            raise ServerUnavailable(
                f"the online store {self._path} cannot be read now: {error}"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(
                f"the online store {self._path} is damaged ({error}): remove the file, and "
                "`platemill run` writes it again from the tiles"
            ) from error
