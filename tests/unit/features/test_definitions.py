"""Feast's objects say what the schema says: all of it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from feast import Entity, FeatureService, FeatureView

from platemill.features.catalog import (
    ENTITIES,
    OFFLINE_VIEWS,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    views_of,
)
from platemill.features.definitions import definitions, feast_type
from platemill.schema import Table

ALL_VIEWS = (*VIEWS, *OFFLINE_VIEWS)
ALL_SERVICES = (*SERVICES, *TRAINING_SERVICES)


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return definitions()


def test_there_is_an_object_for_each_entity_view_and_service(objects: dict[str, Any]) -> None:
    def named(kind: type) -> list[str]:
        return sorted(item.name for item in objects.values() if type(item) is kind)

    assert named(Entity) == sorted(entity.name for entity in ENTITIES)
    assert named(FeatureView) == sorted(table.name for table in ALL_VIEWS)
    assert named(FeatureService) == sorted(service.name for service in ALL_SERVICES)
    assert len(objects) == len(ENTITIES) + len(ALL_VIEWS) + len(ALL_SERVICES)


@pytest.mark.parametrize("table", ALL_VIEWS, ids=lambda table: table.name)
def test_a_view_says_all_of_its_table(objects: dict[str, Any], table: Table) -> None:
    view = objects[table.name]
    assert (view.description, view.owner, view.ttl) == (table.description, table.owner, table.ttl)
    assert view.join_keys == [table.entity]
    assert view.tags.items() >= table.tags.items()
    assert view.tags["table"] == table.name
    assert view.tags["freshness"]
    assert view.online == (table in VIEWS)
    fields = {field.name: field for field in view.features}
    assert list(fields) == [column.name for column in table.features]
    for column in table.features:
        field = fields[column.name]
        assert field.dtype == feast_type(column.type)
        assert field.description == column.description
        assert field.tags == {
            "unit": column.unit or "none",
            "nullable": str(column.nullable).lower(),
            "pii": str(column.pii).lower(),
            "owner": table.owner,
        }
    source = view.batch_source
    assert (source.description, source.owner) == (table.description, table.owner)


def test_entities_and_services_say_what_they_are_for(objects: dict[str, Any]) -> None:
    for entity in ENTITIES:
        item = objects[f"{entity.name}_entity"]
        assert item.description == entity.description
        assert item.owner
        assert item.tags["service"] == entity.service
    for service in ALL_SERVICES:
        item = objects[service.name]
        assert (item.description, item.owner) == (service.description, service.owner)
        views = [table.name for table in views_of(service)]
        assert [projection.name for projection in item.feature_view_projections] == views
        assert item.tags == {"entity": service.join_key, "views": ", ".join(views)}


def test_nothing_is_said_by_hand(objects: dict[str, Any]) -> None:
    """A description that changes in the schema changes in Feast: no object has words of its own."""
    said = {table.description for table in ALL_VIEWS}
    said |= {column.description for table in ALL_VIEWS for column in table.columns}
    said |= {item.description for item in (*ENTITIES, *ALL_SERVICES)}
    for item in objects.values():
        assert item.description in said
        for field in getattr(item, "features", ()):
            if not isinstance(item, FeatureService):
                assert field.description in said
