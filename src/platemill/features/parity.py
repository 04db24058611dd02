"""The gate before a publication: does the online store hold what the tiles say?

The bytes that are stored are decoded apart from how they were encoded, and compared with the tiles
as columns. Feast's own reader is asked for some of the keys, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platemill.errors import CheckFailed, FeatureUnreadable
from platemill.features.decode import decode_column, decode_value
from platemill.features.encode import encode_entity_keys
from platemill.features.encode import whole_seconds as whole_seconds_of
from platemill.features.rows import latest_rows, sampled_rows
from platemill.features.target import StoredRows, Target
from platemill.schema import Table

__all__ = ["LIMITS", "Limits", "Parity", "compare_table", "differing", "refuse_difference"]

_MICROSECONDS = 1_000_000
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """How much of a view is compared.

    Attributes:
        all_rows: a view of so many keys is compared whole; of a larger one about so many rows.
        least: rows that are compared of every stratum of a larger one.
        chunk: rows that are held at a time.
        asked: keys that Feast's own reader is asked for.
    """

    all_rows: int = 1_000_000
    least: int = 1_000
    chunk: int = 20_000
    asked: int = 100


LIMITS = Limits()
"""What a night compares."""


@dataclass
class Parity:
    """How a view's online rows compare with its tiles.

    Attributes:
        keys: keys that there should be.
        compared: rows whose values were compared.
        mismatching: rows that are there with other values or times.
        missing: keys without a row.
        extra: rows without a tile.
        example: one difference, for people.
        first: the keys of the first chunk and what is stored for them.
    """

    keys: int = 0
    compared: int = 0
    mismatching: int = 0
    missing: int = 0
    extra: int = 0
    example: str = ""
    first: tuple[pa.Array, StoredRows] | None = None

    @property
    def holds(self) -> bool:
        """Whether there is no difference."""
        return not (self.mismatching or self.missing or self.extra)

    def __str__(self) -> str:
        counts = (
            f"{self.mismatching:,} of {self.compared:,} rows mismatch, {self.missing:,} are "
            f"missing, {self.extra:,} are extra"
        )
        return f"{counts}. {self.example}" if self.example else counts


def compare_table(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    table: Table,
    keys: int,
    *,
    limits: Limits,
    salt: int,
) -> Parity:
    """Compare a view's rows in a store with the tiles, all or a sample; its keys are all counted.

    Args:
        connection: where ``make_latest`` made the table's rows.
        target: the store.
        table: a table with an entity.
        keys: how many keys ``make_latest`` found.
        limits: how much is compared.
        salt: another salt is another sample.
    """
    parity = Parity(keys=keys)
    if keys <= limits.all_rows:
        batches = latest_rows(connection, table, chunk=limits.chunk)
        _compare_all(target, table, batches, parity)
        return parity
    sample = sampled_rows(
        connection,
        table,
        rows=limits.all_rows,
        least=limits.least,
        salt=salt,
        chunk=limits.chunk,
    )
    for batch in sample:
        stored = target.read(table, encode_entity_keys(batch.column(0), str(table.entity)))
        _compare(batch, table, stored, parity, whole_seconds=target.whole_seconds)
    there = target.count(table)
    if there is not None:
        parity.extra = max(parity.extra, there - (keys - parity.missing))
        parity.missing = max(parity.missing, keys - there)
    return parity


def refuse_difference(parity: Parity, what: str) -> None:
    """Stop a publication over a difference.

    Raises:
        CheckFailed: there is one.
    """
    if not parity.holds:
        raise CheckFailed(
            f"the prepared online store differs from {what}, nothing was published: {parity}. "
            "What was prepared is thrown away: run again, and all of it is written anew"
        )


def differing(one: pa.Array, other: pa.Array) -> _Flags:
    """Which of two arrays' values differ, in a bit of a float, too; both of one type."""
    nulls = [array.is_null().to_numpy(zero_copy_only=False) for array in (one, other)]
    differ: _Flags = nulls[0] != nulls[1]
    both = ~(nulls[0] | nulls[1])
    if both.all():
        differ |= _values_differ(one, other)
    elif both.any():
        some = pa.array(both)
        differ[both] |= _values_differ(one.filter(some), other.filter(some))
    return differ


def _values_differ(one: pa.Array, other: pa.Array) -> _Flags:
    """As ``differing``, of arrays without nulls."""
    kind = one.type
    if pa.types.is_list(kind):
        return _lists_differ(one, other)
    if pa.types.is_floating(kind):
        bits = np.dtype(f"u{kind.bit_width // 8}")
        numbers = [array.to_numpy(zero_copy_only=False).view(bits) for array in (one, other)]
        found: _Flags = numbers[0] != numbers[1]
        return found
    unequal: _Flags = pc.not_equal(one, other).to_numpy(zero_copy_only=False)
    return unequal


def _lists_differ(one: pa.Array, other: pa.Array) -> _Flags:
    lengths = [pc.list_value_length(a).to_numpy(zero_copy_only=False) for a in (one, other)]
    differ: _Flags = lengths[0] != lengths[1]
    same = pa.array(~differ)
    items = [array.filter(same).flatten() for array in (one, other)]
    owners = np.repeat(np.flatnonzero(~differ), lengths[0][~differ])
    differ[owners[differing(items[0], items[1])]] = True
    return differ


def _compare_all(
    target: Target,
    table: Table,
    batches: Iterator[pa.RecordBatch],
    parity: Parity,
) -> None:
    asked: list[pa.RecordBatch] = []

    def keys() -> Iterator[pa.BinaryArray]:
        for batch in batches:
            asked.append(batch)
            yield encode_entity_keys(batch.column(0), str(table.entity))

    for stored in target.scan(table, keys()):
        if not asked:
            _count_extra(stored, parity)
            continue
        batch = asked.pop(0)
        _compare(batch, table, stored, parity, whole_seconds=target.whole_seconds)


def _compare(
    batch: pa.RecordBatch,
    table: Table,
    stored: StoredRows,
    parity: Parity,
    *,
    whole_seconds: bool,
) -> None:
    """Count the differences of one batch of ``online_columns`` and what is stored for its keys."""
    _count_extra(stored, parity)
    parity.compared += batch.num_rows
    keys = batch.column(0)
    parity.first = parity.first or (keys, stored)
    if not stored.present.all():
        lost = keys.filter(pa.array(~stored.present))
        parity.missing += len(lost)
        parity.example = parity.example or f"{lost[0]}: missing"
        batch = batch.filter(pa.array(stored.present))
    if not batch.num_rows:
        return
    wrong = _times_differ(batch.column("event_timestamp"), stored.events, whole_seconds)
    what = {name: wrong.copy() for name in ("event time",)}
    if stored.created is not None:
        created = batch.column("created_timestamp")
        what["creation"] = _times_differ(created, stored.created, whole_seconds)
    for column, values in zip(table.features, stored.values, strict=True):
        expected = batch.column(column.name)
        if pa.types.is_timestamp(column.type):
            # Feast keeps the whole seconds of a feature's time.
            seconds = pa.array(whole_seconds_of(expected) * _MICROSECONDS, pa.int64())
            expected = pc.if_else(expected.is_valid(), seconds, None).cast(column.type)
        what[column.name] = _column_differs(expected, values, column.type)
    for name, flags in what.items():
        wrong |= flags
        if not parity.example and flags.any():
            place = int(flags.argmax())
            parity.example = (
                f"{batch.column(0)[place]}: {_shown(batch, stored, table, name, place)}"
            )
    parity.mismatching += int(wrong.sum())


def _count_extra(stored: StoredRows, parity: Parity) -> None:
    parity.extra += len(stored.extra)
    if stored.extra:
        parity.example = parity.example or f"extra key {stored.extra[0]!r}"


def _times_differ(expected: pa.Array, stored: npt.NDArray[np.int64], whole_seconds: bool) -> _Flags:
    times = expected.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if whole_seconds:
        times = times // _MICROSECONDS * _MICROSECONDS
    flags: _Flags = times != stored
    return flags


def _column_differs(
    expected: pa.Array, values: Sequence[bytes | None], kind: pa.DataType
) -> _Flags:
    try:
        array = pa.array(values)
        if array.type == pa.null():
            array = array.cast(pa.binary())
        if array.type == pa.binary():
            return differing(expected, decode_column(array, kind))
    except (FeatureUnreadable, pa.ArrowInvalid, pa.ArrowTypeError):
        pass
    flags = [_value_differs(expected.slice(n, 1), data) for n, data in enumerate(values)]
    return np.array(flags, np.bool_)


def _value_differs(expected: pa.Array, data: object) -> bool:
    if not isinstance(data, bytes | None):
        return True
    try:
        found = pa.array([decode_value(data, expected.type)], expected.type)
    except FeatureUnreadable:
        return True
    return bool(differing(expected, found)[0])


def _shown(batch: pa.RecordBatch, stored: StoredRows, table: Table, name: str, place: int) -> str:
    if name == "event time":
        tile = batch.column("event_timestamp").cast(pa.int64())[place]
        return f"{name}: tile {tile}, online {stored.events[place]} µs"
    if name == "creation":
        assert stored.created is not None
        tile = batch.column("created_timestamp").cast(pa.int64())[place]
        return f"{name}: tile {tile}, online {stored.created[place]} µs"
    index = table.feature_names.index(name)
    held = stored.values[index][place]
    if not isinstance(held, bytes | None):
        online = f"{held!r}, which is no bytes"
    else:
        try:
            online = repr(decode_value(held, table.column(name).type))
        except FeatureUnreadable:
            online = f"bytes {(held or b'')[:24].hex()}"
    return f"{name}: tile {batch.column(name)[place].as_py()!r}, online {online}"
