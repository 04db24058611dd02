"""Feast's SQLite online store, packed, for a file that is replaced when a night is published."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.infra_object import InfraObject
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _table_id
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig

from platemill.features.packed import Packed, RawRow
from platemill.features.stamp import mark_written_by_hand

__all__ = [
    "FeastRow",
    "PublishedSqliteOnlineStore",
    "PublishedSqliteOnlineStoreConfig",
    "answer",
    "is_expired",
    "now",
]

FeastRow = tuple[datetime | None, dict[str, Value] | None]
"""What a Feast store's reader answers for a key."""

_NOT_FOUND: FeastRow = (None, None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PublishedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """The ``online_store`` part of ``feature_store.yaml``."""

    type: Literal["platemill.features.online_store.PublishedSqliteOnlineStore"] = (
        "platemill.features.online_store.PublishedSqliteOnlineStore"
    )


class PublishedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """The SQLite online store with these differences.

    - A key's features are one row, read at once (``packed``); Feast's own store reads them, too.
    - A view's time to live holds: an expired row is not found.
    - A process that lives for weeks sees a new night without a restart: the file is opened again
      once another one stands in its place.
    - What ``feast materialize`` or ``feast push`` writes is remembered: it is not what the tiles
      say, so that the next night writes the store anew.
    """

    _conn: sqlite3.Connection | None = None
    _opened: tuple[int, int] | None = None

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        path = self._get_db_path(config)
        try:
            status = os.stat(path)  # noqa: PTH116 - on the way of every lookup
            now = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            now = None
        if self._conn is not None and now != self._opened:
            # The old connection may be answering in another thread: it is closed when let go.
            self._conn = None
        connection: sqlite3.Connection = super()._get_conn(config)
        if now is None:
            status = os.stat(path)  # noqa: PTH116
            now = (status.st_dev, status.st_ino)
        self._opened = now
        return connection

    @staticmethod
    def packed(config: RepoConfig, view: FeatureView) -> Packed:
        """How a view lies in the file."""
        name = _table_id(
            config.project, view, config.registry.enable_online_feature_view_versioning
        )
        return Packed(name, tuple(feature.name for feature in view.features))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: Sequence[Any],
        requested_features: Sequence[str] | None = None,
    ) -> list[FeastRow]:
        """The newest row of each key, as Feast's stores answer; an expired one is not found."""
        packed = self.packed(config, table)
        wanted = packed.features if requested_features is None else tuple(requested_features)
        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, version) for key in entity_keys]
        found = packed.read(self._get_conn(config), keys, wanted)
        moment = now()
        return [answer(found.get(key), wanted, table, moment) for key in keys]

    def stock_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: Sequence[Any]
    ) -> list[FeastRow]:
        """What Feast's own SQLite store reads from this file; it knows no time to live."""
        stock = SqliteOnlineStore()
        stock._conn = self._get_conn(config)
        rows: list[FeastRow] = stock.online_read(config, table, list(entity_keys))
        return rows

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[tuple[Any, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows by hand, as ``feast materialize`` and ``feast push`` do. A night does not."""
        packed = self.packed(config, table)
        version = config.entity_key_serialization_version
        connection = self._get_conn(config)
        with connection:
            mark_written_by_hand(connection)
            statements: dict[tuple[str, ...], str] = {}
            for key, values, event, created in data:
                given = tuple(values)
                if given not in statements:
                    statements[given] = packed.insert(given)
                connection.execute(
                    statements[given],
                    (
                        serialize_entity_key(key, version),
                        _seconds(event),
                        None if created is None else _seconds(created),
                        *(value.SerializeToString() for value in values.values()),
                    ),
                )
                if progress:
                    progress(1)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create the tables of views, add the columns that they lack, drop those of views gone."""
        connection = self._get_conn(config)
        with connection:
            for view in tables_to_keep:
                self.packed(config, view).create(connection)
            for view in tables_to_delete:
                self.packed(config, view).drop(connection)

    def plan(self, config: RepoConfig, desired_registry_proto: Any) -> list[InfraObject]:
        """Nothing: what Feast would plan are tables of its own layout."""
        return []


def answer(
    row: RawRow | None, features: Sequence[str], view: FeatureView, moment: datetime
) -> FeastRow:
    """A stored row as Feast's readers answer it: not found if there is none, or it is expired."""
    if row is None:
        return _NOT_FOUND
    event = _EPOCH + timedelta(seconds=row[0])
    if is_expired(event, view.ttl, moment):
        return _NOT_FOUND
    values = {}
    for name, data in zip(features, row[2], strict=True):
        value = Value()
        value.ParseFromString(data or b"")
        values[name] = value
    return event, values


def now() -> datetime:
    """The time by which a row is expired."""
    return datetime.now(UTC)


def is_expired(event: datetime | None, ttl: timedelta | None, moment: datetime) -> bool:
    """Whether a row does not answer any more: its event is longer ago than its time to live."""
    return bool(ttl) and event is not None and moment - event > (ttl or timedelta(0))


def _seconds(time: datetime) -> int:
    """Whole seconds since 1970; a time without a zone is UTC."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (aware - _EPOCH) // timedelta(seconds=1)
