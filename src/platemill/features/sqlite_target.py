"""The SQLite store that a night prepares: a file beside the published one. Knows nothing of Feast.

While it is prepared, each chunk of rows is a transaction, and the transaction says how far it is:
a kill leaves whole chunks, and another attempt at the same work goes on behind them. The disk is
not waited for until the stamp is written. So what a chunk says is believed only while the machine
has not been started again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platemill.features.encode import whole_seconds
from platemill.features.packed import Packed
from platemill.features.stamp import Stamp, mark_written_by_hand, write_stamp
from platemill.features.target import Audit, EncodedRows, StoredRows
from platemill.schema import Table

__all__ = ["SqliteTarget", "copy_store", "new_store", "written_chunks"]

_PROGRESS = "platemill_progress"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# A key's row of ten features is some 150 bytes; of lists it is more, and should lie in its page.
_PAGE_BYTES = 8192
_CACHE_KIB = 64_000
_MICROSECONDS = 1_000_000
_NEVER = np.iinfo(np.int64).min

_Row = tuple[Any, ...]


def new_store(path: Path) -> None:
    """Make an empty store."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        _make_progress(database)


def copy_store(source: Path, target: Path) -> None:
    """Copy a store as it is between two transactions, whoever writes to it meanwhile."""
    with (
        contextlib.closing(sqlite3.connect(source)) as database,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        copy.execute("PRAGMA synchronous = OFF")
        database.backup(copy)


def written_chunks(path: Path, identity: str) -> Mapping[str, int] | None:
    """How many rows of each view an attempt at that work has written; None if it is not of that."""
    if not path.is_file():
        return None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            f"SELECT view, rows FROM {_PROGRESS} WHERE identity = ? AND boot = ?",
            (identity, _boot()),
        ).fetchall()
        return dict(rows) or None
    return None


class SqliteTarget:
    """An online store in a file.

    Args:
        path: the file; it is made (``new_store``, ``copy_store``), and has no other writer.
        views: how each table of the schema lies in it.
        identity: what work it is for.
        source: the published store that it is a copy of; None: there is nothing in it but what
            this work wrote.
    """

    whole_seconds = True

    def __init__(
        self, path: Path, views: Mapping[str, Packed], identity: str, *, source: Path | None
    ) -> None:
        self._path = path
        self._views = views
        self._identity = identity
        self._source = source
        write_stamp(path, None)
        self._database = sqlite3.connect(path, isolation_level=None)
        # A kill leaves the file as it was between two transactions; a power cut may not, and is
        # told by the boot's number.
        self._database.execute("PRAGMA journal_mode = TRUNCATE")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _make_progress(self._database)
        with self._transaction():
            self._database.execute(
                f"DELETE FROM {_PROGRESS} WHERE identity <> ? OR boot <> ?", (identity, _boot())
            )
            for packed in views.values():
                packed.create(self._database)

    @classmethod
    def published(cls, path: Path, views: Mapping[str, Packed]) -> SqliteTarget:
        """A store that is complete, to be compared."""
        target = cls.__new__(cls)
        target._views = views
        target._database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        return target

    def write(self, table: Table, rows: EncodedRows, done: int) -> None:
        """See ``Target``."""
        columns = [
            _listed(rows.keys),
            whole_seconds(rows.events).tolist(),
            whole_seconds(rows.created).tolist(),
            *map(_listed, rows.values),
        ]
        with self._transaction():
            self._database.executemany(
                self._views[table.name].insert(new=self._source is None), zip(*columns, strict=True)
            )
            self._database.execute(
                f"INSERT OR REPLACE INTO {_PROGRESS} VALUES (?, ?, ?, ?)",
                (table.name, done, self._identity, _boot()),
            )

    def delete(self, table: Table, keys: pa.BinaryArray) -> None:
        """See ``Target``."""
        with self._transaction():
            self._views[table.name].delete(self._database, _listed(keys))

    def scan(self, table: Table, chunks: Iterator[pa.BinaryArray]) -> Iterator[StoredRows]:
        """See ``Target``."""
        rows = self._views[table.name].scan(self._database)
        features = len(table.features)
        ahead: list[_Row] = []
        # SQL's order: what is no bytes, and so no key, comes first.
        extra: list[bytes] = []
        for chunk in chunks:
            keys = _listed(chunk)
            found, ahead = ahead, []
            while (not found or found[-1][0] < keys[-1]) and (more := rows.fetchmany(len(keys))):
                extra += [repr(row[0]).encode() for row in more if not isinstance(row[0], bytes)]
                found += [row for row in more if isinstance(row[0], bytes)]
            while found and found[-1][0] > keys[-1]:
                ahead.append(found.pop())
            ahead.reverse()
            if [row[0] for row in found] == keys:
                present = np.ones(len(keys), np.bool_)
            else:
                wanted, held = set(keys), {row[0] for row in found}
                present = np.array([key in held for key in keys])
                extra += [row[0] for row in found if row[0] not in wanted]
                found = [row for row in found if row[0] in wanted]
            yield _stored(present, found, features, extra)
            extra = []
        left = [row[0] for row in (*ahead, *rows)]
        yield _stored(np.zeros(0, np.bool_), [], features, [*extra, *left])

    def read(self, table: Table, keys: pa.BinaryArray) -> StoredRows:
        """See ``Target``."""
        wanted = _listed(keys)
        found = self._views[table.name].read(self._database, wanted)
        present = np.array([key in found for key in wanted], np.bool_)
        rows: list[_Row] = []
        for key in wanted:
            if (row := found.get(key)) is not None:
                rows.append((key, row[0], row[1], *row[2]))
        return _stored(present, rows, len(table.features), [])

    def count(self, table: Table) -> int:
        """See ``Target``."""
        return self._views[table.name].count(self._database)

    def audit(self, entities: Mapping[str, Iterator[pa.RecordBatch]]) -> Audit:
        """See ``Target``: nothing, the views have their keys to themselves."""
        return Audit()

    def seal(self, stamp: Stamp) -> None:
        """See ``Target``. All that was written is on the disk when it returns."""
        self._database.execute(f"DROP TABLE {_PROGRESS}")
        self.close()
        write_stamp(self._path, stamp)

    def spoiled(self) -> None:
        """See ``Target``."""
        with self._transaction():
            self._database.execute(f"DELETE FROM {_PROGRESS}")
        if self._source is not None:
            with contextlib.closing(sqlite3.connect(self._source)) as published, published:
                mark_written_by_hand(published)

    def close(self) -> None:
        """See ``Target``."""
        self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _make_progress(database: sqlite3.Connection) -> None:
    database.execute(
        f"CREATE TABLE IF NOT EXISTS {_PROGRESS} "
        "(view TEXT PRIMARY KEY, rows INTEGER, identity TEXT, boot TEXT)"
    )


def _boot() -> str:
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def _listed(array: pa.BinaryArray) -> list[bytes]:
    listed: list[bytes] = array.to_numpy(zero_copy_only=False).tolist()
    return listed


def _stored(
    present: Any, rows: Iterable[_Row], features: int, extra: Sequence[bytes]
) -> StoredRows:
    columns = list(zip(*rows, strict=True)) or [()] * (3 + features)
    _, events, created, *values = columns
    known = [_NEVER if time is None else time * _MICROSECONDS for time in created]
    return StoredRows(
        present,
        np.array(events, np.int64) * _MICROSECONDS,
        np.array(known, np.int64),
        values,
        extra,
    )
