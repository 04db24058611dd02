"""Reads the bytes of keys from an online store, all views of an entity in one go.

Knows nothing of Feast but its layout: opening takes milliseconds, not the seconds that Feast takes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.features.catalog import VIEWS, EntityKind
from platemill.features.encode import encode_entity_key
from platemill.features.stamp import Stamp
from platemill.features.store import ONLINE_FILE, store_configuration
from platemill.schema import Table
from platemill.settings import Settings

__all__ = [
    "EntityLayout",
    "OnlineReader",
    "RawAnswer",
    "ViewLayout",
    "definitions_differ",
    "entity_keys",
    "entity_layout",
    "not_published",
    "open_reader",
]

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class ViewLayout:
    """A view's part of a raw row: the event time at ``time``, then its features, to ``end``."""

    table: Table
    time: int
    end: int


@dataclass(frozen=True)
class EntityLayout:
    """What a raw row of an entity holds: its views one after another.

    Attributes:
        kind: the entity.
        views: its views.
        places: where the features of each type lie.
    """

    kind: EntityKind
    views: tuple[ViewLayout, ...]
    places: dict[pa.DataType, list[int]]

    @property
    def width(self) -> int:
        """How many cells a row has."""
        return self.views[-1].end

    @cached_property
    def names(self) -> list[str]:
        """A name a cell: ``<view>__<feature>``; of an event time ``<view>``."""
        names = []
        for view in self.views:
            names.append(view.table.name)
            names += [f"{view.table.name}__{column.name}" for column in view.table.features]
        return names


class RawAnswer(NamedTuple):
    """What a store holds for keys.

    Attributes:
        stamp: the generation that all of the answer is from.
        rows: a row a key, in their order, laid out as ``EntityLayout`` says. A view's event time is
            None if the store has nothing of it; values are serialized ``Value`` messages or None.
    """

    stamp: Stamp
    rows: Sequence[Sequence[Any]]


def not_published(where: object) -> ConfigurationError:
    """The error about a store that holds no night."""
    return ConfigurationError(
        f"nothing is published in {where}: there is no online store of a night in it. Run "
        "`platemill run` first"
    )


def definitions_differ(where: object, what: str) -> ConfigurationError:
    """The error about a store that was written under other definitions than the schema's."""
    return ConfigurationError(
        f"the online store {where} was written by a platemill with other features ({what}): the "
        "next `platemill run` writes it anew"
    )


class OnlineReader(Protocol):
    """An open online store. May be used by several threads."""

    def read(self, layout: EntityLayout, keys: Sequence[str]) -> RawAnswer:
        """The bytes of keys.

        Raises:
            ConfigurationError: nothing is published, or under other definitions than the schema's.
            ServerUnavailable: the store does not answer.
        """
        ...

    def seconds(self, time: Any) -> int:
        """The whole seconds since 1970 of an event time of an answer."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


def entity_keys(layout: EntityLayout, keys: Sequence[str]) -> list[bytes]:
    """The serialized entity keys of keys.

    Raises:
        ConfigurationError: a key is not a text that UTF-8 can hold.
    """
    prefix = encode_entity_key("", layout.kind.join_key)[: -_LENGTH.size]
    try:
        texts = [key.encode() for key in keys]
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"the key {error.object!r} is not text in UTF-8") from None
    return [prefix + _LENGTH.pack(len(text)) + text for text in texts]


@cache
def entity_layout(kind: EntityKind) -> EntityLayout:
    """How an entity's raw rows are laid out."""
    views = []
    places: dict[pa.DataType, list[int]] = {}
    time = 0
    for table in VIEWS:
        if table.entity == kind.join_key:
            end = time + 1 + len(table.features)
            views.append(ViewLayout(table, time, end))
            for place, column in enumerate(table.features, time + 1):
                places.setdefault(column.type, []).append(place)
            time = end
    return EntityLayout(kind, tuple(views), places)


def open_reader(settings: Settings) -> OnlineReader:
    """Open the deployment's online store, as it is published.

    Raises:
        ConfigurationError: Feast's configuration cannot be read, or no night has been published.
    """
    project = str(store_configuration(settings)["project"])
    if settings.online_url is None:
        from platemill.features.sqlite_reader import SqliteReader

        return SqliteReader(settings.features / ONLINE_FILE, project)
    from platemill.features.redis_reader import RedisReader

    return RedisReader(settings.online_url, project)
