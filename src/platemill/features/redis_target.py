"""The Redis store that a night prepares: the database that is not published. No Feast in here.

Who prepares it claims it first, with a random text in a key. Every group of rows is a transaction
that is void if that key was touched since: a run that was stopped, declared dead and comes back
writes nothing into what another run prepares, however late it comes.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mmh3
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from platemill.errors import RetryableError
from platemill.features.encode import encode_entity_keys, encode_timestamps, join_bytes
from platemill.features.redis_place import (
    BY_HAND,
    DONE,
    OURS,
    WRITER,
    RedisPlace,
    connect_redis,
)
from platemill.features.resp import Commands, Part, Wire, command, commands, refused
from platemill.features.stamp import STAMP_KEY, Stamp, stamp_to_json
from platemill.features.target import Audit, EncodedRows, StoredRows
from platemill.schema import Table

__all__ = ["Hashes", "RedisTarget"]

# Rows of a transaction: as many as the server writes in about a millisecond, in which it answers
# nobody else.
_GROUP = 200
_OPEN = command(b"WATCH", WRITER) + command(b"GET", WRITER) + command(b"MULTI")
_OPEN_ANSWERS = 3
_EXEC = command(b"EXEC")
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Hashes:
    """How a feature view lies in Redis, as Feast's own store lays it out.

    A key's hash holds all views of its entity: a field a feature, named by a hash of the view's
    and the feature's name, and one for the view's event time.

    Attributes:
        suffix: what follows the serialised entity key in the name of a hash: the project.
        features: the fields' names, in the order of the features.
        time: the name of the event time's field.
    """

    suffix: bytes
    features: tuple[bytes, ...]
    time: bytes

    @classmethod
    def of(cls, project: str, view: str, features: Sequence[str]) -> Hashes:
        """The layout of a view, by the name that Feast's store knows it by."""
        fields = tuple(field_name(view, feature) for feature in features)
        return cls(project.encode(), fields, f"_ts:{view}".encode())

    @property
    def fields(self) -> tuple[bytes, ...]:
        """All fields of a row."""
        return (*self.features, self.time)


def field_name(view: str, feature: str) -> bytes:
    """The field of a feature: MurmurHash3 of its full name, the lowest byte first."""
    return int(mmh3.hash(f"{view}:{feature}", signed=False)).to_bytes(4, "little")


class RedisTarget:
    """The database that is prepared; see ``claim``, which makes it.

    Args:
        place: the server.
        wire: a connection to the database.
        token: what the claim said.
        views: how each table of the schema lies in it.
    """

    whole_seconds = False

    def __init__(
        self, place: RedisPlace, wire: Wire, token: bytes, views: Mapping[str, Hashes]
    ) -> None:
        self._place = place
        self._wire = wire
        self._token = token
        self._views = views

    @classmethod
    def published(cls, place: RedisPlace, views: Mapping[str, Hashes]) -> RedisTarget:
        """The published database, to be compared."""
        with place.explained():
            wire = Wire(connect_redis(place.url_of(place.published)))
        return cls(place, wire, b"", views)

    def write(self, table: Table, rows: EncodedRows, done: int) -> None:
        """See ``Target``."""
        view = self._views[table.name]
        words: list[Part] = [b"HSET", join_bytes(rows.keys, view.suffix)]
        for field, values in zip(view.features, rows.values, strict=True):
            words += [field, values]
        words += [view.time, encode_timestamps(rows.events)]
        noted = command(b"HSET", DONE, table.name.encode(), str(done).encode())
        self._transact(commands(len(rows), *words), noted)

    def delete(self, table: Table, keys: pa.BinaryArray) -> None:
        """See ``Target``. A hash without fields is gone by itself."""
        view = self._views[table.name]
        names = join_bytes(keys, view.suffix)
        self._transact(commands(len(keys), b"HDEL", names, *view.fields))

    def scan(self, table: Table, chunks: Iterator[pa.BinaryArray]) -> Iterator[StoredRows]:
        """See ``Target``. What there is besides is seen by ``audit``."""
        view = self._views[table.name]
        sent: list[int] = []
        for keys in chunks:
            self._ask(view, keys)
            sent.append(len(keys))
            if len(sent) > 1:
                yield self._answers(view, sent.pop(0))
        for rows in sent:
            yield self._answers(view, rows)

    def read(self, table: Table, keys: pa.BinaryArray) -> StoredRows:
        """See ``Target``."""
        view = self._views[table.name]
        self._ask(view, keys)
        return self._answers(view, len(keys))

    def audit(self, entities: Mapping[str, Iterator[pa.RecordBatch]]) -> Audit:
        """See ``Target``: how many fields each key has, and how many keys there are."""
        missing = extra = keys = 0
        example = ""
        for join_key, batches in entities.items():
            for batch in batches:
                names = encode_entity_keys(batch.column(0), join_key)
                suffix = next(iter(self._views.values())).suffix
                asked = commands(len(names), b"HLEN", join_bytes(names, suffix))
                with self._explained():
                    self._wire.send(asked.bytes_of(0, len(asked)))
                    found = np.array(self._wire.receive_many(len(asked)), np.int64)
                wanted = batch.column("fields").to_numpy()
                keys += int((found > 0).sum())
                missing += int((found < wanted).sum())
                extra += int((found > wanted).sum())
                for place in np.flatnonzero(found != wanted)[:1]:
                    example = example or (
                        f"{join_key} {batch.column(0)[place]}: {found[place]} fields, "
                        f"{wanted[place]} by the tiles"
                    )
        with self._explained():
            self._wire.send(command(b"DBSIZE") + command(b"EXISTS", *OURS))
            there, ours = self._wire.receive_many(2)
        foreign = there - ours - keys
        if foreign > 0:
            example = example or f"{foreign:,} keys of no entity with tiles"
        return Audit(missing, extra + max(0, foreign), example)

    def seal(self, stamp: Stamp) -> None:
        """See ``Target``."""
        self._transact(commands(1, b"SET", STAMP_KEY, stamp_to_json(stamp)))

    def spoiled(self) -> None:
        """See ``Target``."""
        self._transact(commands(1, b"SET", BY_HAND, b"1"))

    def count(self, table: Table) -> None:
        """See ``Target``: views' keys are counted all together."""

    def close(self) -> None:
        """See ``Target``."""
        self._wire.close()

    def _transact(self, all_commands: Commands, noted: bytes = b"") -> None:
        """Send commands in transactions, the last of which has one more."""
        waiting = 0
        with self._explained():
            for start in range(0, len(all_commands), _GROUP):
                end = min(start + _GROUP, len(all_commands))
                last = noted if end == len(all_commands) else b""
                self._wire.send(_OPEN, all_commands.bytes_of(start, end), last)
                if waiting:
                    self._executed(waiting)
                self._refuse_taken_over()
                self._wire.send(_EXEC)
                waiting = end - start + bool(last)
            if waiting:
                self._executed(waiting)

    def _refuse_taken_over(self) -> None:
        _, holder, _ = self._wire.receive_many(_OPEN_ANSWERS)
        if holder != self._token:
            raise RetryableError(self._taken_over())

    def _executed(self, count: int) -> None:
        self._wire.receive_many(count)
        answers = self._wire.receive()
        if answers is None:
            raise RetryableError(self._taken_over())
        refused(answers)

    def _taken_over(self) -> str:
        return (
            f"another run prepares the online store in {self._place.shown} now, database "
            f"{self._place.staging.index}; nothing of this one is published. Run again"
        )

    def _ask(self, view: Hashes, keys: pa.BinaryArray) -> None:
        asked = commands(len(keys), b"HMGET", join_bytes(keys, view.suffix), *view.fields)
        with self._explained():
            self._wire.send(asked.bytes_of(0, len(asked)))

    def _answers(self, view: Hashes, count: int) -> StoredRows:
        with self._explained():
            rows = self._wire.receive_many(count)
        present = np.array([_is_there(row) for row in rows], np.bool_)
        if not present.all():
            rows = [row for row, there in zip(rows, present, strict=True) if there]
        *values, times = list(zip(*rows, strict=True)) or [()] * len(view.fields)
        return StoredRows(present, _microseconds(times), None, values)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with self._place.explained():
            yield


def new_token() -> bytes:
    """A text that nobody else has."""
    return uuid.uuid4().hex.encode()


def _is_there(row: Sequence[bytes | None]) -> bool:
    return row[-1] is not None or any(value is not None for value in row)


def _microseconds(times: Sequence[bytes | None]) -> Any:
    """Microseconds of serialised ``Timestamp`` messages, read by protobuf; of no message: never."""
    known: dict[bytes | None, int] = {None: _NEVER}
    for data in set(times) - {None}:
        message = Timestamp()
        try:
            message.ParseFromString(data or b"")
            exact, rest = divmod(message.nanos, 1000)
            known[data] = _NEVER if rest else message.seconds * 1_000_000 + exact
        except DecodeError:
            known[data] = _NEVER
    return np.array([known[data] for data in times], np.int64)
