"""Feast's SQLite online store, for a file that is replaced as a whole when a night is published."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _table_id
from feast.repo_config import RepoConfig

__all__ = ["PublishedSqliteOnlineStore", "PublishedSqliteOnlineStoreConfig"]


class PublishedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """The ``online_store`` part of ``feature_store.yaml``."""

    type: Literal["platemill.features.online_store.PublishedSqliteOnlineStore"] = (
        "platemill.features.online_store.PublishedSqliteOnlineStore"
    )


class PublishedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """The SQLite online store with two differences.

    A process that lives for weeks sees a new night without a restart: the file is opened again
    once another one stands in its place. And keys can be deleted, which a correction needs.
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
            self._table_has_value_num = None
        connection: sqlite3.Connection = super()._get_conn(config)
        if now is None:
            status = os.stat(path)  # noqa: PTH116
            now = (status.st_dev, status.st_ino)
        self._opened = now
        return connection

    def delete_keys(self, config: RepoConfig, table: FeatureView, keys: Sequence[Any]) -> None:
        """Delete all features of some entity keys (``EntityKey`` protos) of a view."""
        name = _table_id(
            config.project, table, config.registry.enable_online_feature_view_versioning
        )
        version = config.entity_key_serialization_version
        rows = [(serialize_entity_key(key, version),) for key in keys]
        connection = self._get_conn(config)
        with connection:
            connection.executemany(f'DELETE FROM "{name}" WHERE entity_key = ?', rows)

    def count_keys(self, config: RepoConfig, table: FeatureView) -> int:
        """How many entity keys of a view have features."""
        name = _table_id(
            config.project, table, config.registry.enable_online_feature_view_versioning
        )
        row = self._get_conn(config).execute(f'SELECT count(DISTINCT entity_key) FROM "{name}"')
        return int(row.fetchone()[0])
