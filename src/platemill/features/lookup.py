"""Lookups of precomputed features: all that the online store has of keys, and how old it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.features.catalog import entity_named
from platemill.features.decode import decode_column, decode_list
from platemill.features.freshness import MISSING, Freshness, Status, freshness_of
from platemill.features.reader import EntityLayout, ViewLayout, entity_layout, open_reader
from platemill.features.stamp import Stamp
from platemill.settings import Settings

__all__ = ["Lookup", "lookup"]

_TIME = pa.timestamp("us", tz="UTC")
_FRESHNESS = pa.struct(
    [
        pa.field("status", pa.string(), nullable=False),
        pa.field("event_timestamp", _TIME),
        pa.field("age_seconds", pa.int64()),
    ]
)


class Lookup:
    """An open online store that answers lookups. Keep it: opening takes longer than an answer.

    It reads the very bytes that Feast's own API reads, without Feast's way to them, and answers
    what is true now: a value whose time to live is over is null, and its view's status says why.
    May be used by several threads.

    Args:
        settings: the deployment's settings.
        clock: tells the seconds since 1970; for tests.

    Raises:
        ConfigurationError: no night has been published yet, or the store cannot be read.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._reader = open_reader(settings)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store."""
        self._reader.close()

    def __call__(
        self, entity: str, keys: Sequence[str], *, include_expired: bool = False
    ) -> list[dict[str, Any]]:
        """Answer for keys, in their order; a key that nobody has seen is an answer too.

        Args:
            entity: ``plate``, ``camera`` or ``image``.
            keys: the keys, a key perhaps several times.
            include_expired: show expired values, too; their view's status says so all the same.

        Returns:
            A row a key: ``key``; ``found``, whether any view has a current answer; ``generation``,
            the night that all of the answer is from; ``published_at``, when that was made;
            ``event_timestamp`` and ``age_seconds`` of the newest values in the row (see
            ``Freshness``), None if it has none; ``views``, a ``Freshness`` by view; and every
            feature as ``<view>__<feature>``, None if there is none or it is expired.

        Raises:
            ConfigurationError: there is no such entity, or nothing is published any more.
            ServerUnavailable: the store does not answer.
            FeatureUnreadable: the store holds bytes that are no value.
        """
        return self._rows(_layout(entity, keys), keys, include_expired) if keys else []

    def table(self, entity: str, keys: Sequence[str], *, include_expired: bool = False) -> pa.Table:
        """The same answer as a table of Arrow, for many keys; see ``__call__``.

        ``views`` is a struct with a struct a view; features have the types of the schema.
        """
        return self._table(_layout(entity, keys), keys, include_expired)

    def _rows(
        self, layout: EntityLayout, keys: Sequence[str], include_expired: bool
    ) -> list[dict[str, Any]]:
        found = self._ask(layout, keys, include_expired)
        current, newest = found.summary(include_expired)
        views = [view.table.name for view in layout.views]
        columns: dict[str, Iterable[Any]] = {
            "key": keys,
            "found": current,
            "generation": repeat(found.stamp.generation),
            "published_at": repeat(found.stamp.created_at),
            "event_timestamp": [age.event_timestamp for age in newest],
            "age_seconds": [age.age_seconds for age in newest],
            "views": [
                dict(zip(views, ages, strict=True)) for ages in zip(*found.freshness, strict=True)
            ],
            **found.decoded(decode_list),
        }
        names = list(columns)
        # Not strict: what is the same in all rows is repeated without end.
        rows = zip(*columns.values(), strict=False)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _table(self, layout: EntityLayout, keys: Sequence[str], include_expired: bool) -> pa.Table:
        found = self._ask(layout, keys, include_expired)
        current, newest = found.summary(include_expired)
        ages = _column_of(newest)
        columns = {
            "key": pa.array(keys, pa.string()),
            "found": pa.array(current, pa.bool_()),
            "generation": pa.repeat(pa.scalar(found.stamp.generation, pa.int64()), len(keys)),
            "published_at": pa.repeat(pa.scalar(found.stamp.created_at, _TIME), len(keys)),
            "event_timestamp": ages.field("event_timestamp"),
            "age_seconds": ages.field("age_seconds"),
            "views": pa.StructArray.from_arrays(
                [_column_of(ages) for ages in found.freshness],
                [view.table.name for view in layout.views],
            ),
        }
        return pa.table(columns | found.decoded(decode_column))

    def _ask(self, layout: EntityLayout, keys: Sequence[str], include_expired: bool) -> _Found:
        stamp, rows = self._reader.read(layout, keys)
        now = self._clock()
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * layout.width
        freshness = []
        for view in layout.views:
            ages = self._ages(view, columns[view.time], now)
            freshness.append(ages)
            expired = {place for place, age in enumerate(ages) if age.status is Status.EXPIRED}
            if expired and not include_expired:
                for place in range(view.time + 1, view.end):
                    kept = enumerate(columns[place])
                    columns[place] = [None if row in expired else data for row, data in kept]
        return _Found(layout, stamp, freshness, columns)

    def _ages(self, view: ViewLayout, times: Sequence[Any], now: float) -> list[Freshness]:
        assert view.table.ttl is not None
        # Keys share the ends of periods.
        known = {
            time: freshness_of(self._reader.seconds(time), view.table.ttl, now)
            for time in set(times)
            if time is not None
        }
        return [MISSING if time is None else known[time] for time in times]


@dataclass(frozen=True)
class _Found:
    """An answer in columns: a list of ages a view, and what the reader said, of what is shown."""

    layout: EntityLayout
    stamp: Stamp
    freshness: list[list[Freshness]]
    columns: list[Sequence[Any]]

    def summary(self, include_expired: bool) -> tuple[list[bool], list[Freshness]]:
        """For each key: whether a view is current, and the freshness of the newest values shown."""
        # Most keys share their ages with others.
        known: dict[tuple[int, ...], tuple[bool, Freshness]] = {}
        current, newest = [], []
        for ages in zip(*self.freshness, strict=True):
            same = tuple(map(id, ages))
            if same not in known:
                any_current = any(age.status is Status.CURRENT for age in ages)
                known[same] = any_current, _newest(ages, include_expired)
            one = known[same]
            current.append(one[0])
            newest.append(one[1])
        return current, newest

    def decoded(self, decode: Callable[[list[bytes | None], pa.DataType], Any]) -> dict[str, Any]:
        """The features' values by name. Those of a type are decoded together, which is faster."""
        decoded: list[Any] = [None] * len(self.columns)
        for kind, places in self.layout.places.items():
            values = decode(list(chain.from_iterable(self.columns[at] for at in places)), kind)
            size = len(self.columns[0])
            for number, at in enumerate(places):
                decoded[at] = values[number * size : (number + 1) * size]
        names = self.layout.names
        return {
            names[at]: decoded[at]
            for view in self.layout.views
            for at in range(view.time + 1, view.end)
        }


def lookup(
    settings: Settings,
    entity: str,
    keys: Sequence[str],
    *,
    include_expired: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[dict[str, Any]]:
    """Answer one lookup; see ``Lookup`` for many.

    Raises:
        ConfigurationError: there is no such entity, or nothing is published yet.
    """
    entity_named(entity)
    with Lookup(settings, clock=clock) as look_up:
        return look_up(entity, keys, include_expired=include_expired)


def _layout(entity: str, keys: Sequence[str]) -> EntityLayout:
    if isinstance(keys, str):
        raise ConfigurationError(f"keys are a list of texts, not one text: [{keys!r}]")
    return entity_layout(entity_named(entity))


def _newest(ages: Sequence[Freshness], include_expired: bool) -> Freshness:
    """The freshness of the newest values that are shown."""
    newest = MISSING
    for age in ages:
        shown = age.status is Status.CURRENT or (include_expired and age is not MISSING)
        if shown and (newest is MISSING or _time(age) > _time(newest)):
            newest = age
    return newest


def _time(age: Freshness) -> datetime:
    assert age.event_timestamp is not None
    return age.event_timestamp


def _column_of(ages: Sequence[Freshness]) -> pa.StructArray:
    # Keys share their ages: each is made a value of Arrow once.
    distinct = {id(age): age for age in ages}
    places = dict(zip(distinct, range(len(distinct)), strict=True))
    values = pa.StructArray.from_arrays(
        [
            pa.array([age.status.value for age in distinct.values()], pa.string()),
            pa.array([age.event_timestamp for age in distinct.values()], _TIME),
            pa.array([age.age_seconds for age in distinct.values()], pa.int64()),
        ],
        fields=list(_FRESHNESS),
    )
    return values.take(pa.array([places[id(age)] for age in ages], pa.int32()))
