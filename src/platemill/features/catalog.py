"""What the feature store offers, derived from the schema: entities, views and services.

Knows nothing of Feast; ``definitions`` turns it into Feast's objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from platemill.errors import ConfigurationError
from platemill.schema import DERIVED, TILES, Table

__all__ = [
    "ENTITIES",
    "OFFLINE_VIEWS",
    "SERVICES",
    "TRAINING_SERVICES",
    "VIEWS",
    "EntityKind",
    "Service",
    "entity_named",
    "references",
    "service_named",
    "view_named",
    "views_of",
]


@dataclass(frozen=True)
class EntityKind:
    """Something that features are about.

    Attributes:
        name: as the command line and Feast call it.
        join_key: the column that holds its key.
        service: the feature service that a lookup of it asks.
    """

    name: str
    join_key: str
    description: str
    service: str


@dataclass(frozen=True)
class Service:
    """A versioned set of views for one use. A change that breaks a reader makes the next one.

    Attributes:
        name: as the command line and Feast call it.
        join_key: the column that holds its key.
        description: what it says, for people.
        offline: whether it has the views that no online store holds, too.
        owner: who answers for it.
    """

    name: str
    join_key: str
    description: str
    offline: bool = False
    owner: str = "data-engineering"


ENTITIES = (
    EntityKind("plate", "plate", "a number plate, by its text", "plate_lookup_v1"),
    EntityKind("camera", "camera_id", "a camera, by its name", "camera_load_v1"),
    EntityKind("image", "image_id", "an image, by the hash of its bytes", "image_lookup_v1"),
)

SERVICES = (
    Service("plate_lookup_v1", "plate", "when, where and how often a plate was seen"),
    Service("camera_load_v1", "camera_id", "what a camera delivered, and how readable it was"),
    Service("image_lookup_v1", "image_id", "everything that was read from an image"),
)

# No online store holds their trailing windows: these change every midnight.
TRAINING_SERVICES = (
    Service("plate_history_v1", "plate", "a plate's tiles and trailing windows", offline=True),
    Service(
        "camera_history_v1", "camera_id", "a camera's tiles and trailing windows", offline=True
    ),
)

VIEWS: tuple[Table, ...] = tuple(table for table in TILES if table.entity is not None)
"""What the online store holds, and training sets as well."""

OFFLINE_VIEWS: tuple[Table, ...] = tuple(table for table in DERIVED if table.entity is not None)
"""What is for training sets alone."""

_Thing = TypeVar("_Thing", EntityKind, Service, Table)


def entity_named(name: str) -> EntityKind:
    """The entity of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return _named(ENTITIES, name, "entity")


def service_named(name: str) -> Service:
    """The service of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return _named((*SERVICES, *TRAINING_SERVICES), name, "service")


def view_named(name: str) -> Table:
    """The table of the view of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return _named((*VIEWS, *OFFLINE_VIEWS), name, "view")


def views_of(service: Service) -> tuple[Table, ...]:
    """The tables of a service's views."""
    views = (*VIEWS, *OFFLINE_VIEWS) if service.offline else VIEWS
    return tuple(table for table in views if table.entity == service.join_key)


def references(service: Service) -> list[str]:
    """A service's features as Feast names them one by one: ``<view>:<feature>``.

    Feast's servers answer to these in a fraction of the time that they take for the service's name:
    they make its object anew for every request.
    """
    return [
        f"{table.name}:{column.name}" for table in views_of(service) for column in table.features
    ]


def _named(things: Sequence[_Thing], name: str, what: str) -> _Thing:
    for thing in things:
        if thing.name == name:
            return thing
    known = ", ".join(thing.name for thing in things)
    raise ConfigurationError(f"there is no {what} {name!r}; there are: {known}")
