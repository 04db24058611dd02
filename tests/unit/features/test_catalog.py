"""What the feature store offers is the schema's, and is whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from platemill.errors import ConfigurationError
from platemill.features.catalog import (
    ENTITIES,
    OFFLINE_VIEWS,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    entity_named,
    references,
    service_named,
    views_of,
)
from platemill.schema import DERIVED, TABLES


def test_every_view_has_an_entity_a_ttl_and_features() -> None:
    keys = {entity.join_key for entity in ENTITIES}
    assert {table.entity for table in VIEWS} == keys
    for table in (*VIEWS, *OFFLINE_VIEWS):
        assert table.ttl is not None
        assert table.features
        assert table.entity in table.key
        assert {"event_timestamp", "created_timestamp"} <= set(table.arrow.names)


def test_every_service_of_an_entity_exists() -> None:
    assert {entity.service for entity in ENTITIES} == {service.name for service in SERVICES}
    assert {service.join_key for service in SERVICES} == {entity.join_key for entity in ENTITIES}


def test_the_online_store_holds_no_derived_view() -> None:
    assert OFFLINE_VIEWS == DERIVED
    assert not [table for table in OFFLINE_VIEWS if table in VIEWS]
    for service in SERVICES:
        assert all(table in VIEWS for table in views_of(service))
    for service in TRAINING_SERVICES:
        assert any(table in OFFLINE_VIEWS for table in views_of(service))
        assert service_named(service.name) is service


def test_an_unknown_entity_is_named() -> None:
    assert entity_named("camera").join_key == "camera_id"
    with pytest.raises(ConfigurationError, match="no entity 'car'; there are: plate, camera"):
        entity_named("car")


def test_every_description_says_something() -> None:
    for table in TABLES.values():
        assert table.description
        assert table.owner
        for column in table.columns:
            assert column.description, f"{table.name}.{column.name}"


def test_the_cheap_modules_do_not_import_feast() -> None:
    code = (
        "import sys\n"
        "import platemill.features.online, platemill.features.lookup, platemill.features.store\n"
        "assert not {'feast', 'pandas', 'ibis'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_that_is_tagged_personal_says_which_columns_are() -> None:
    for table in TABLES.values():
        personal = [column.name for column in table.columns if column.pii]
        if "pii" in table.tags:
            assert personal, table.name
    plates = [
        t.name for t in TABLES.values() if any(c.name == "plate" and c.pii for c in t.columns)
    ]
    assert {name for name in TABLES if name.startswith("plate_")} <= set(plates)


def test_a_services_features_have_feasts_names() -> None:
    [service] = [service for service in SERVICES if service.join_key == "plate"]
    names = references(service)
    assert names[0] == "plate_day_v1:sightings"
    assert len(names) == len(set(names)) == sum(len(table.features) for table in views_of(service))
