"""Feast's Redis online store, for databases that are swapped when a night is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

import redis
from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.online_stores.redis import (
    RedisOnlineStore,
    RedisOnlineStoreConfig,
    _versioned_fv_name,
)
from feast.repo_config import RepoConfig

from platemill.features import online_store
from platemill.features.online_store import FeastRow
from platemill.features.redis_place import BY_HAND, connect_redis
from platemill.features.redis_target import Hashes

__all__ = ["PublishedRedisOnlineStore", "PublishedRedisOnlineStoreConfig"]

_NOT_FOUND: FeastRow = (None, None)


class PublishedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """The ``online_store`` part of ``redis.yaml``."""

    type: Literal["platemill.features.redis_store.PublishedRedisOnlineStore"] = (
        "platemill.features.redis_store.PublishedRedisOnlineStore"
    )
    url: str
    """``redis://``, ``rediss://`` or ``unix://`` with the number of the published database."""


class PublishedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """The Redis online store, its bytes Feast's, with these differences.

    - A view's time to live holds: an expired row is not found, and neither is one that is not
      there, which Feast's own store answers with nulls.
    - The server is named by a URL.
    - ``feast apply`` deletes nothing: the next night writes what is to be there.
    - What ``feast materialize`` or ``feast push`` writes is remembered: it is not what the tiles
      say, so that the next night writes the store anew.
    """

    _client: Any
    _client_async: Any
    _ttls: dict[str, timedelta | None]

    def __init__(self) -> None:
        super().__init__()
        self._ttls = {}

    def _get_client(self, online_store_config: PublishedRedisOnlineStoreConfig) -> Any:
        if self._client is None:
            self._client = connect_redis(online_store_config.url)
        return self._client

    async def _get_client_async(self, online_store_config: PublishedRedisOnlineStoreConfig) -> Any:
        if self._client_async is None:
            self._client_async = redis.asyncio.Redis.from_url(online_store_config.url, protocol=2)
        return self._client_async

    @staticmethod
    def hashes(config: RepoConfig, view: FeatureView) -> Hashes:
        """How a view lies in the database."""
        features = [feature.name for feature in view.features]
        return Hashes.of(config.project, _versioned_fv_name(view, config), features)

    def _generate_hset_keys_for_features(
        self,
        feature_view: FeatureView,
        requested_features: list[str] | None = None,
        fv_name_override: str | None = None,
    ) -> Any:
        # Feast's readers come by here with the view, and by the next method with its name.
        self._ttls[fv_name_override or feature_view.name] = feature_view.ttl
        return super()._generate_hset_keys_for_features(
            feature_view, requested_features, fv_name_override
        )

    def _convert_redis_values_to_protobuf(
        self,
        redis_values: Sequence[Sequence[bytes | None]],
        feature_view: str,
        requested_features: list[str],
    ) -> list[FeastRow]:
        moment = online_store.now()
        ttl = self._ttls[feature_view]
        rows: list[FeastRow] = super()._convert_redis_values_to_protobuf(
            redis_values, feature_view, requested_features
        )
        return [
            _NOT_FOUND
            if values[-1] is None or online_store.is_expired(row[0], ttl, moment)
            else row
            for values, row in zip(redis_values, rows, strict=True)
        ]

    def stock_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: Sequence[Any]
    ) -> list[FeastRow]:
        """What Feast's own Redis store reads; it knows no time to live."""
        stock = RedisOnlineStore()
        stock._client = self._get_client(config.online_store)
        rows: list[FeastRow] = stock.online_read(config, table, list(entity_keys))
        return rows

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Any,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows by hand, as ``feast materialize`` and ``feast push`` do. A night does not."""
        self._get_client(config.online_store).set(BY_HAND, b"1")
        super().online_write_batch(config, table, data, progress)

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Any,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """As ``online_write_batch``."""
        client = await self._get_client_async(config.online_store)
        await client.set(BY_HAND, b"1")
        await super().online_write_batch_async(config, table, data, progress)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Nothing: a night whose definitions are others writes the database anew."""
