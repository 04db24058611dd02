"""Which features a training set has, by the names of services, views and features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.features.catalog import service_named, view_named, views_of
from platemill.schema import Table

__all__ = ["ChosenView", "choose_views", "feature_fields"]


@dataclass(frozen=True)
class ChosenView:
    """A view and those of its features that were asked for, in the view's order."""

    table: Table
    features: tuple[str, ...]


def choose_views(services: Iterable[str], references: Iterable[str] = ()) -> list[ChosenView]:
    """The views of some services, and single features as ``view:feature``; nothing comes twice.

    Raises:
        ConfigurationError: there is no such service, view or feature, or nothing is chosen.
    """
    chosen: dict[str, set[str]] = {}
    tables: dict[str, Table] = {}
    for name in services:
        for table in views_of(service_named(name)):
            tables[table.name] = table
            chosen.setdefault(table.name, set()).update(table.feature_names)
    for reference in references:
        view, colon, feature = reference.partition(":")
        if not colon:
            raise ConfigurationError(
                f"a feature is named view:feature, plate_day_v1:sightings say, not {reference!r}"
            )
        table = view_named(view)
        known = table.feature_names
        if feature not in known:
            raise ConfigurationError(
                f"{view} has no feature {feature!r}; it has: {', '.join(known)}"
            )
        tables[view] = table
        chosen.setdefault(view, set()).add(feature)
    if not chosen:
        raise ConfigurationError("name a service or a feature: a training set needs one")
    return [
        ChosenView(table, tuple(c.name for c in table.features if c.name in chosen[name]))
        for name, table in tables.items()
    ]


def feature_fields(
    views: Sequence[ChosenView], taken: Sequence[str], *, full_names: bool
) -> list[pa.Field]:
    """The columns of the features, named as Feast names them, each with what the schema says of it.

    Args:
        views: what was chosen.
        taken: the entity file's columns.
        full_names: ``view__feature``, else ``feature``.

    Raises:
        ConfigurationError: two columns would have the same name.
    """
    fields = []
    for view in views:
        for name in view.features:
            column = view.table.column(name)
            said = {"description": column.description, "unit": column.unit}
            title = f"{view.table.name}__{name}" if full_names else name
            fields.append(pa.field(title, column.type, nullable=True, metadata=said))
    counted = Counter([*taken, *(field.name for field in fields)])
    twice = [name for name, times in counted.items() if times > 1]
    if twice:
        cure = (
            "rename them in the entity file"
            if full_names
            else "ask for --full-feature-names, or for fewer features"
        )
        raise ConfigurationError(f"two columns would be called {', '.join(twice)}: {cure}")
    return fields
