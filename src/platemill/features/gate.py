"""All of an online store compared with the tiles, also through Feast's own reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from platemill.errors import CheckFailed, ConfigurationError
from platemill.features.catalog import ENTITIES, VIEWS
from platemill.features.parity import LIMITS, Limits, compare_table, refuse_difference
from platemill.features.rows import entity_fields, make_latest
from platemill.features.target import StoredRows, Target
from platemill.lake import open_lake
from platemill.schema import Table
from platemill.settings import Settings
from platemill.warehouse.duck import connect

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["compare_all", "compare_published"]


def compare_all(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    store: FeatureStore,
    keys: Mapping[str, int],
    *,
    what: str,
    salt: int,
    limits: Limits = LIMITS,
) -> int:
    """Compare every view's rows in a store with the tiles, and its keys with those it should have.

    Args:
        connection: where ``make_latest`` made the views' rows.
        target: the store.
        store: Feast's store over it.
        keys: table → how many keys ``make_latest`` found.
        what: what it is compared with, for people.
        salt: another salt compares another sample of a large view.
        limits: how much is compared.

    Returns:
        Rows compared.

    Raises:
        CheckFailed: a row differs, is missing, or is there without a tile.
    """
    compared = 0
    for table in VIEWS:
        parity = compare_table(
            connection, target, table, keys[table.name], limits=limits, salt=salt
        )
        refuse_difference(parity, f"{table.name} of {what}")
        if parity.first is not None:
            _ask_feast(store, table, *parity.first, limits.asked)
        compared += parity.compared
    views = {kind.join_key: [t for t in VIEWS if t.entity == kind.join_key] for kind in ENTITIES}
    audit = target.audit(
        {
            key: entity_fields(
                connection,
                [(table, len(table.features) + 1) for table in tables],
                chunk=limits.chunk,
            )
            for key, tables in views.items()
        }
    )
    if audit.missing or audit.extra:
        raise CheckFailed(
            f"the prepared online store differs from {what}, nothing was published: "
            f"{audit.missing:,} keys are missing something, {audit.extra:,} are extra or have too "
            f"much. {audit.example}"
        )
    return compared


def compare_published(settings: Settings, limits: Limits = LIMITS) -> int:
    """Compare the published online store with the tiles of its generation, as a night does.

    Returns:
        Rows compared.

    Raises:
        CheckFailed: it differs.
        ConfigurationError: nothing is published.
    """
    from platemill.features.staging import close_store, published_target
    from platemill.features.store import open_store

    lake = open_lake(settings)
    generation = lake.current()
    if generation is None:
        raise ConfigurationError(f"nothing is published in {settings.home} yet")
    store = open_store(settings)
    target = published_target(settings, store)
    try:
        with connect(
            lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
        ) as connection:
            keys = {t.name: make_latest(connection, lake, generation, t) for t in VIEWS}
            return compare_all(
                connection,
                target,
                store,
                keys,
                what=f"the tiles of generation {generation.number}",
                salt=generation.number,
                limits=limits,
            )
    finally:
        target.close()
        close_store(store)


def _ask_feast(
    store: FeatureStore, table: Table, keys: pa.Array, stored: StoredRows, count: int
) -> None:
    """Have Feast's own store read some of the keys that are there; its bytes are to be the same."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    there = [place for place, present in enumerate(stored.present) if present]
    step = max(1, len(there) // count)
    names = keys.to_pylist()
    asked = [
        EntityKey(join_keys=[str(table.entity)], entity_values=[Value(string_val=names[place])])
        for place in there[::step]
    ]
    if not asked:
        return
    view = store.get_feature_view(table.name)
    answers: list[Any] = store._get_provider().online_store.stock_read(store.config, view, asked)
    for row, (_, values) in zip(range(0, len(there), step), answers, strict=True):
        for column, held in zip(table.features, stored.values, strict=True):
            read = None if values is None else values[column.name].SerializeToString()
            if read != (held[row] or b""):
                raise CheckFailed(
                    f"Feast reads other values than are stored of {table.name}, key "
                    f"{names[there[row]]}, {column.name}: {read!r}, stored {held[row]!r}; nothing "
                    "was published"
                )
