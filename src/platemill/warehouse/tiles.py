"""Tiles from SQL files: only the periods that a changed day lies in, and only what differs.

::

    facts of a changed day ──► its day tiles, whole ──► rows that differ ──► their keys
                                                                               │
    day tiles of the week and the month, these keys' rows alone ◄──────────────┘
                │
                ▼
    week and month: these keys merged anew, all other row groups copied as bytes
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from platemill.errors import CheckFailed
from platemill.failpoints import failpoint
from platemill.lake import FileEntry, Lake, open_lake
from platemill.lake.files import GROUP_ROWS, write_parquet
from platemill.lake.splice import Run, splice_parquet
from platemill.schema import TILES, Period, Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft, period_end, period_start, periods_of
from platemill.warehouse.duck import connect, mentioned, rows_of
from platemill.warehouse.sql_files import read_sql

__all__ = ["build_tiles", "history_schema"]

_KNOWN = "created_timestamp"

# Tiles that are merged from days, and the keys that they are merged by.
_MERGED = tuple(t for t in TILES if t.period in (Period.WEEK, Period.MONTH))
_MERGED_BY = tuple(sorted({table.key[0] for table in _MERGED}))


def history_schema(table: Table) -> pa.Schema:
    """A history file's schema: a tombstone has a key and two times, and nulls for the rest."""
    kept = {*table.key, "event_timestamp", _KNOWN}
    return pa.schema([field.with_nullable(field.name not in kept) for field in table.arrow])


def build_tiles(settings: Settings, draft: Draft) -> Draft:
    """Recompute the tiles of the changed days, and merge what differs into weeks and months.

    A row that comes out as it was keeps its ``created_timestamp``, and a partition without a
    difference keeps its file. A row that was already complete and comes out differently, or not
    at all, moves to the tile's history, so that a training set that is rebuilt afterwards can
    still be told what was known at the time.

    Raises:
        CheckFailed: a tile cannot be computed from the facts, a confidence that is no number say.
        ConfigurationError: an SQL file is missing.
    """
    lake = open_lake(settings)
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        for key in _MERGED_BY:
            connection.execute(f'CREATE TEMP TABLE "touched_{key}" (day DATE, "{key}" VARCHAR)')
        for table in TILES:
            if table.period is None:
                raise TypeError(f"{table.name} is in TILES and has no period")
            query = read_sql(settings.sql, table.name, "query.sql")
            files: dict[date, FileEntry | None] = {}
            history: dict[date, FileEntry] = {}
            for start in periods_of(table.period, draft.days):
                part = _Part(connection, lake, draft, table, start)
                try:
                    part.compute(query)
                except duckdb.Error as error:
                    raise CheckFailed(
                        f"{table.name} of {start} cannot be computed, nothing was published: "
                        f"{error}"
                    ) from error
                failpoint("tiles.period.before")
                files[start] = part.write()
                failpoint("tiles.period.after")
                gone = part.write_history()
                failpoint("tiles.history.after")
                if gone is not None:
                    history[start] = gone
            draft = draft.with_files(table.name, files).with_history(table.name, history)
    return draft


@dataclass(frozen=True)
class _Part:
    """One partition of a tile table that is being rebuilt.

    In the connection it leaves the tables ``fresh``, the rows that were computed, and, of a
    partition that there was, ``added`` and ``dropped``, the rows that it gains and loses.
    """

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    draft: Draft
    table: Table
    start: date

    @property
    def before(self) -> FileEntry | None:
        """The parent's file."""
        return self.draft.before(self.table.name, self.start)

    @property
    def end(self) -> date:
        """The first day after the period."""
        return period_end(self.table.period or Period.DAY, self.start)

    def compute(self, query: str) -> None:
        """Compute its rows: of a merged tile that there was, those of the touched keys alone."""
        chosen = ""
        if self.table in _MERGED and self.before is not None:
            chosen = self._choose_touched()
        for source in mentioned(query):
            files = self.draft.generation.partitions(source.name)
            inside = [entry for day, entry in sorted(files.items()) if self._has(day)]
            self._show(source.name, rows_of(self.lake, source, inside), chosen)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE fresh AS {query}",
            {
                "period_start": self.start,
                "period_end": self.end,
                _KNOWN: self.draft.generation.created_at,
            },
        )
        if self.before is not None:
            self._show("before", rows_of(self.lake, self.table, [self.before]), chosen)
            for name, one, other in (("added", "fresh", "before"), ("dropped", "before", "fresh")):
                self.connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE {name} AS "
                    f"SELECT f.* FROM {one} AS f ANTI JOIN {other} AS b ON {_same(self.table)}"
                )
        if self.table.period is Period.DAY:
            self._remember_touched()

    def write(self) -> FileEntry | None:
        """Write its file; returns the one before if no row differs, None if no row is left."""
        prefix = self.draft.generation.prefix(self._folder("tiles"))
        names = ", ".join(f'"{name}"' for name in self.table.arrow.names)
        order = ", ".join(f'"{name}"' for name in self.table.key)
        storage, schema = self.lake.storage, self.table.arrow
        if self.before is None:
            rows = self.connection.sql(f"SELECT {names} FROM fresh ORDER BY {order}")
            return write_parquet(storage, prefix, schema, rows.to_arrow_reader(GROUP_ROWS))
        key = self.table.key[0]
        found: list[Any] = self.connection.execute(
            f'SELECT "{key}" FROM added UNION SELECT "{key}" FROM dropped ORDER BY 1'
        ).fetchall()
        if not found:
            return self.before
        keys = [value for (value,) in found]
        return splice_parquet(storage, prefix, schema, self.before, keys, self._rewrite)

    def _rewrite(self, run: Run, standing: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """The rows of a run without those that are dropped, and with those that are added."""
        names = ", ".join(f'"{name}"' for name in self.table.arrow.names)
        keys = ", ".join(f'"{name}"' for name in self.table.key)
        first = f'"{self.table.key[0]}"'
        bounds = {"low": run.low, "high": run.high}
        inside = f"($low IS NULL OR {first} >= $low) AND ($high IS NULL OR {first} < $high)"
        reader = pa.RecordBatchReader.from_batches(self.table.arrow, standing)
        self.connection.register("standing", reader)
        try:
            [(gained,)] = self.connection.execute(
                f"SELECT count(*) FROM added WHERE {inside}", bounds
            ).fetchall()
            rows = self.connection.sql(
                f"SELECT {names} FROM standing ANTI JOIN dropped USING ({keys}) "
                f"UNION ALL SELECT {names} FROM added WHERE {inside} ORDER BY {keys}",
                params=bounds,
            )
            # As many groups as before, or one more, of one size: no tiny ones are left over.
            groups = max(1, round((run.rows + gained) / GROUP_ROWS))
            size = -(-(run.rows + gained) // groups)
            yield from _in_groups(rows.to_arrow_reader(GROUP_ROWS), size)
        finally:
            self.connection.unregister("standing")

    def write_history(self) -> FileEntry | None:
        """Keep the rows that are no longer true, and a tombstone for each key that has none now.

        A row that is corrected before its period ends can never be seen by a point-in-time join,
        since the join looks at complete periods only: it is dropped. Without that a month tile
        would leave thirty versions behind.
        """
        if self.before is None:
            return None
        table = self.table
        kept = {*table.key, "event_timestamp"}
        tombstone = ", ".join(
            f'd."{name}"' if name in kept else "$created" if name == _KNOWN else "NULL"
            for name in table.arrow.names
        )
        keys = " AND ".join(f'd."{name}" = f."{name}"' for name in table.key)
        rows = self.connection.sql(
            "SELECT * FROM dropped WHERE event_timestamp < $created "
            f"UNION ALL SELECT {tombstone} FROM dropped AS d ANTI JOIN fresh AS f ON {keys} "
            "WHERE d.event_timestamp < $created "
            f"ORDER BY {', '.join(table.key)}, {_KNOWN}",
            params={"created": self.draft.generation.created_at},
        )
        prefix = self.draft.generation.prefix(self._folder("history"))
        return write_parquet(
            self.lake.storage, prefix, history_schema(table), rows.to_arrow_reader(GROUP_ROWS)
        )

    def _choose_touched(self) -> str:
        """Make the table ``touched`` of the period's touched keys; returns a join with it."""
        key = self.table.key[0]
        self.connection.execute(
            f'CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT "{key}" '
            f'FROM "touched_{key}" WHERE day >= $start AND day < $end',
            {"start": self.start, "end": self.end},
        )
        return f'SEMI JOIN touched USING ("{key}")'

    def _remember_touched(self) -> None:
        """Note the keys whose rows of this day differ, for the weeks and months that there are."""
        if not _has_merged(self.draft, self.start):
            return
        differs = ("fresh",) if self.before is None else ("added", "dropped")
        for key in _MERGED_BY:
            if key in self.table.key:
                found = " UNION ".join(f'SELECT "{key}" FROM {name}' for name in differs)
                self.connection.execute(
                    f'INSERT INTO "touched_{key}" SELECT $day, "{key}" FROM ({found})',
                    {"day": self.start},
                )

    def _has(self, day: date) -> bool:
        return self.start <= day < self.end

    def _folder(self, kind: str) -> str:
        return f"{kind}/{self.table.name}/{self.table.partition}={self.start.isoformat()}"

    def _show(self, name: str, rows: str, chosen: str) -> None:
        self.connection.execute(
            f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM ({rows}) {chosen}'
        )


def _has_merged(draft: Draft, day: date) -> bool:
    """Whether the parent has a week or a month that the day is merged into."""
    return any(
        draft.before(table.name, period_start(table.period or Period.DAY, day)) is not None
        for table in _MERGED
    )


def _in_groups(batches: Iterable[pa.RecordBatch], size: int) -> Iterable[pa.RecordBatch]:
    """The same rows in batches of one size; the last one may be smaller."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= size:
            whole = pa.Table.from_batches(held)
            yield from whole.slice(0, size).combine_chunks().to_batches()
            held, rows = whole.slice(size).to_batches(), rows - size
    if rows:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def _same(table: Table) -> str:
    """The condition that a row of ``f`` says what a row of ``b`` says."""
    return " AND ".join(
        f'f."{name}" IS NOT DISTINCT FROM b."{name}"'
        for name in table.arrow.names
        if name != _KNOWN
    )
