"""The writing of a view into an online store that is prepared: its changed keys, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from platemill.failpoints import failpoint
from platemill.features.encode import encode_entity_keys
from platemill.features.rows import (
    Difference,
    changed_keys,
    changed_rows,
    difference,
    gone_keys,
    latest_rows,
)
from platemill.features.target import Base, encode_rows
from platemill.lake import Generation, Lake
from platemill.schema import Table

if TYPE_CHECKING:
    from platemill.features.staging import Prepared

__all__ = ["OnlineProgress", "write_view"]

# Rows that are encoded and written at a time: some ten megabytes.
_CHUNK = 20_000


@dataclass(frozen=True)
class OnlineProgress:
    """How far the writing of one view is, in rows."""

    view: str
    done: int
    total: int


def write_view(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    prepared: Prepared,
    generation: Generation,
    table: Table,
    keys: int,
    progress: Callable[[OnlineProgress], object] | None,
) -> tuple[int, int]:
    """Write what a view lacks of a generation, and delete the keys that have no row any more.

    Args:
        connection: where ``make_latest`` made the view's rows.
        lake: where the tiles are.
        prepared: the store.
        generation: whose tiles.
        table: the view's table.
        keys: how many keys it has.
        progress: called after each chunk.

    Returns:
        Rows written and keys deleted.
    """
    base = prepared.start.base
    done = before = prepared.start.done.get(table.name, 0)
    gone: list[str] = []
    if base is None:
        batches = latest_rows(connection, table, chunk=_CHUNK, after=done)
    else:
        keys = changed_keys(connection, lake, table, _differences(base, generation, table))
        if not keys:
            return 0, 0
        gone = gone_keys(connection, table)
        keys -= len(gone)
        batches = changed_rows(connection, table, chunk=_CHUNK, after=done)
    for batch in batches:
        done += batch.num_rows
        prepared.target.write(table, encode_rows(batch, table), done)
        failpoint("features.chunk.after")
        if progress is not None:
            progress(OnlineProgress(table.name, done, keys))
    if gone:
        lost = encode_entity_keys(pa.array(gone, pa.string()), str(table.entity))
        prepared.target.delete(table, lost)
    return done - before, len(gone)


def _differences(base: Base, generation: Generation, table: Table) -> Iterator[Difference]:
    """Where a view's rows may differ from a generation's: all that the base differs in."""
    there = base.generation.partitions(table.name)
    yield difference(table, there, generation.partitions(table.name))
    for draft in base.abandoned:
        changed = draft.get(table.name, {})
        files = {**there, **changed}
        known = {start: entry for start, entry in files.items() if entry is not None}
        yield difference(table, there, known)
