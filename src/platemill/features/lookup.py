"""Lookups of precomputed features, through Feast's ordinary API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from platemill.errors import ConfigurationError
from platemill.features.catalog import VIEWS, EntityKind, entity_named
from platemill.features.online import published_stamp
from platemill.features.store import open_store
from platemill.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Lookup", "lookup"]


class Lookup:
    """An open feature store that answers lookups. Keep it: opening takes seconds.

    Args:
        settings: the deployment's settings.

    Raises:
        ConfigurationError: no night has been published yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if published_stamp(settings) is None:
            raise ConfigurationError(
                f"nothing is published in {settings.home} yet: there is no online store of a "
                "night in it. Run `platemill run` first"
            )
        self._store: FeatureStore = open_store(settings)

    def __call__(self, entity: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Answer for keys, in their order; a key that nobody has seen is an answer too.

        Returns:
            A row a key: ``key``; ``found``; ``generation``, the night that the answer is from;
            ``event_timestamp``, the end of the newest period in it (an image: when it was taken),
            None if not found; and every feature as ``<view>__<feature>``, None if there is none.

        Raises:
            ConfigurationError: there is no such entity.
        """
        kind = entity_named(entity)
        if not keys:
            return []
        # A night may be published between the two reads: then the answer is asked for again.
        while True:
            before = published_stamp(self._settings)
            rows = self._ask(kind, keys)
            if before == published_stamp(self._settings):
                break
        generation = None if before is None else before.generation
        return [{**row, "generation": generation} for row in rows]

    def _ask(self, kind: EntityKind, keys: Sequence[str]) -> list[dict[str, Any]]:
        from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

        answer = self._store.get_online_features(
            features=self._store.get_feature_service(kind.service),
            entity_rows=[{kind.join_key: key} for key in keys],
            full_feature_names=True,
        )
        values = answer.to_dict()
        times: list[list[datetime]] = [[] for _ in keys]
        answered = zip(answer.proto.metadata.feature_names.val, answer.proto.results, strict=True)
        for name, result in answered:
            if name != kind.join_key:
                answers = zip(times, result.statuses, result.event_timestamps, strict=True)
                for known, status, stamp in answers:
                    if status != FieldStatus.NOT_FOUND:
                        known.append(stamp.ToDatetime(tzinfo=UTC))
        names = _feature_names(kind)
        rows = []
        for place, key in enumerate(keys):
            newest = max(times[place], default=None)
            # The generation's place in the row is here; its value is known to the caller.
            row: dict[str, Any] = {
                "key": key,
                "found": newest is not None,
                "generation": None,
                "event_timestamp": newest,
            }
            rows.append(row | {name: _in_utc(values[name][place]) for name in names})
        return rows


def lookup(settings: Settings, entity: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Answer one lookup; see ``Lookup`` for many.

    Raises:
        ConfigurationError: there is no such entity, or nothing is published yet.
    """
    entity_named(entity)
    return Lookup(settings)(entity, keys)


def _feature_names(kind: EntityKind) -> list[str]:
    """The features of an entity in the schema's order; Feast answers in none."""
    return [
        f"{table.name}__{column.name}"
        for table in VIEWS
        if table.entity == kind.join_key
        for column in table.features
    ]


def _in_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value
