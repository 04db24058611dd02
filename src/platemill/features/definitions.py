"""The feature store's definitions, generated from ``schema.py``: nothing is said twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.types import Array, Float32, Float64, Int32, Int64, String, UnixTimestamp

from platemill.features.catalog import (
    ENTITIES,
    OFFLINE_VIEWS,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    EntityKind,
    Service,
    views_of,
)
from platemill.features.source import LakeTable
from platemill.schema import Column, Table

__all__ = ["definitions", "feast_type"]

_TYPES: dict[pa.DataType, Any] = {
    pa.float32(): Float32,
    pa.float64(): Float64,
    pa.int32(): Int32,
    pa.int64(): Int64,
    pa.string(): String,
    pa.timestamp("us", tz="UTC"): UnixTimestamp,
}

_ONLINE = "a night after the period's end; a period that has begun is served too"
_OFFLINE = "a night after the day's end; for training sets, not online"


def feast_type(arrow: pa.DataType) -> Any:
    """Feast's type of an Arrow type. Feast's online stores keep whole seconds of a time."""
    if pa.types.is_list(arrow):
        return Array(feast_type(arrow.value_type))
    return _TYPES[arrow]


def definitions() -> dict[str, Any]:
    """All objects of the feature store, by a name that is unique among them."""
    entities = {
        entity.join_key: Entity(
            name=entity.name,
            join_keys=[entity.join_key],
            value_type=ValueType.STRING,
            description=entity.description,
            owner=_owner(entity),
            tags={"service": entity.service},
        )
        for entity in ENTITIES
    }
    views = {table.name: _view(table, entities) for table in (*VIEWS, *OFFLINE_VIEWS)}
    services = {
        service.name: _service(service, views) for service in (*SERVICES, *TRAINING_SERVICES)
    }
    named = {f"{entity.name}_entity": entity for entity in entities.values()}
    return {**named, **views, **services}


def _owner(entity: EntityKind) -> str:
    return next(table.owner for table in VIEWS if table.entity == entity.join_key)


def _view(table: Table, entities: dict[str, Entity]) -> FeatureView:
    assert table.entity is not None
    key = table.column(table.entity)
    return FeatureView(
        name=table.name,
        entities=[entities[table.entity]],
        ttl=table.ttl or timedelta(0),
        schema=[_field(column, table) for column in (key, *table.features)],
        source=LakeTable(
            table=table.name,
            description=table.description,
            owner=table.owner,
            tags=dict(table.tags),
        ),
        online=table in VIEWS,
        description=table.description,
        owner=table.owner,
        tags={
            **table.tags,
            "table": table.name,
            "freshness": _ONLINE if table in VIEWS else _OFFLINE,
        },
    )


def _field(column: Column, table: Table) -> Field:
    # Feast's fields have no owner of their own.
    return Field(
        name=column.name,
        dtype=feast_type(column.type),
        description=column.description,
        tags={
            "unit": column.unit or "none",
            "nullable": str(column.nullable).lower(),
            "pii": str(column.pii).lower(),
            "owner": table.owner,
        },
    )


def _service(service: Service, views: dict[str, FeatureView]) -> FeatureService:
    chosen = [views[table.name] for table in views_of(service)]
    return FeatureService(
        name=service.name,
        features=chosen,
        description=service.description,
        owner=service.owner,
        tags={"entity": service.join_key, "views": ", ".join(view.name for view in chosen)},
    )
