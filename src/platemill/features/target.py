"""What a night asks of an online store that it prepares, whichever store it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from platemill.features.encode import encode_entity_keys, encode_values
from platemill.features.stamp import Stamp
from platemill.lake import FileEntry, Generation
from platemill.schema import Table

__all__ = ["Audit", "Base", "EncodedRows", "Start", "StoredRows", "Target", "Work", "encode_rows"]

_State = Mapping[str, Mapping[date, FileEntry]]


@dataclass(frozen=True)
class EncodedRows:
    """Rows as an online store holds them: ``Value`` messages a feature, and the times as they are.

    Attributes:
        keys: serialised entity keys.
        events: timestamp[us, UTC].
        created: timestamp[us, UTC].
        values: a binary array a feature, in the table's order.
    """

    keys: pa.BinaryArray
    events: pa.Array
    created: pa.Array
    values: Sequence[pa.BinaryArray]

    def __len__(self) -> int:
        return len(self.keys)


def encode_rows(batch: pa.RecordBatch, table: Table) -> EncodedRows:
    """Encode a batch of ``online_columns``."""
    key, *features, events, created = batch.columns
    return EncodedRows(
        encode_entity_keys(key, str(table.entity)),
        events,
        created,
        [encode_values(column) for column in features],
    )


@dataclass(frozen=True)
class StoredRows:
    """What an online store holds for some keys.

    Attributes:
        present: whether there is a row, for each key.
        events: microseconds since 1970 of the rows there are, int64.
        created: the same of their creation, if the store keeps it.
        values: their values, a list a feature.
        extra: keys in the store that were passed over on the way, having not been asked for.
    """

    present: npt.NDArray[np.bool_]
    events: npt.NDArray[np.int64]
    created: npt.NDArray[np.int64] | None
    values: Sequence[Sequence[bytes | None]]
    extra: Sequence[bytes] = ()


@dataclass(frozen=True)
class Audit:
    """How the keys of a whole store compare with those that there should be.

    Attributes:
        missing: keys that lack something.
        extra: keys that have too much, or that should not be there.
        example: one of them, for people.
    """

    missing: int = 0
    extra: int = 0
    example: str = ""


@dataclass(frozen=True)
class Base:
    """What a store's rows are, before a draft is written into it.

    Attributes:
        generation: the generation whose latest tiles the rows are …
        abandoned: … but for keys that differ in drafts that were begun and never published: table →
            partition → its file, None if it has none; only where it differs from the generation.
    """

    generation: Generation
    abandoned: tuple[Mapping[str, Mapping[date, FileEntry | None]], ...] = ()


@dataclass(frozen=True)
class Work:
    """A draft that a store is to hold, and what tells it from another.

    Attributes:
        stamp: what the finished store is stamped with.
        state: the draft's files of the views' tables.
    """

    stamp: Stamp
    state: _State

    def identity(self, base: Base | None) -> str:
        """The same for two drafts whose rows are written by the same steps, whoever made them."""
        said: dict[str, Any] = {
            "pipeline": self.stamp.pipeline_version,
            "definitions": self.stamp.definitions,
            "draft": _contents(self.state),
            "base": None if base is None else _contents(base.generation.tables),
            "abandoned": [] if base is None else [_contents(d) for d in base.abandoned],
        }
        return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Start:
    """What there is to do.

    Attributes:
        base: what the store holds; None: nothing, everything is written.
        done: rows of a view that an earlier attempt at the same work has written, in their order.
    """

    base: Base | None
    done: Mapping[str, int] = field(default_factory=dict)


class Target(Protocol):
    """An online store that is being prepared, and that nobody reads yet."""

    whole_seconds: bool
    """Whether it keeps times in whole seconds."""

    def write(self, table: Table, rows: EncodedRows, done: int) -> None:
        """Write rows, and remember with them that ``done`` rows of the view are written."""

    def delete(self, table: Table, keys: pa.BinaryArray) -> None:
        """Delete the rows of some keys."""

    def scan(self, table: Table, chunks: Iterator[pa.BinaryArray]) -> Iterator[StoredRows]:
        """The rows of all keys that there should be, a chunk of keys at a time, in key order.

        The last answer is of no key: what is left over behind the last.
        """

    def read(self, table: Table, keys: pa.BinaryArray) -> StoredRows:
        """The rows of some keys."""

    def count(self, table: Table) -> int | None:
        """How many keys of a view there are; None if only ``audit`` counts them."""

    def audit(self, entities: Mapping[str, Iterator[pa.RecordBatch]]) -> Audit:
        """Compare all keys with those that there should be, where the views' scans cannot.

        Args:
            entities: join key → ``entity_fields`` of its views.
        """

    def seal(self, stamp: Stamp) -> None:
        """Stamp it: it is complete."""

    def spoiled(self) -> None:
        """Have the next attempt write everything anew: what was there was not what it was said."""

    def close(self) -> None:
        """Let go of it."""


def _contents(state: Mapping[str, Mapping[date, FileEntry | None]]) -> dict[str, dict[str, Any]]:
    return {
        table: {str(day): entry and entry.content for day, entry in sorted(days.items())}
        for table, days in sorted(state.items())
    }
