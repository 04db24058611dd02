"""Between Arrow's rows and what Feast's online stores hold. Imports Feast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from feast import FeatureView, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.utils import _convert_arrow_to_proto

from platemill.schema import Table

__all__ = ["entity_keys", "entity_keys_of", "expected_values", "online_values", "to_feast_rows"]


def to_feast_rows(batch: pa.RecordBatch, view: FeatureView, table: Table) -> list[Any]:
    """A batch in the form that ``online_write_batch`` takes, by Feast's own conversion."""
    rows: list[Any] = _convert_arrow_to_proto(batch, view, {table.entity: ValueType.STRING})
    return rows


def entity_keys(batch: pa.RecordBatch, table: Table) -> list[Any]:
    """The entity keys of a batch whose first column is the key."""
    return entity_keys_of(batch.column(0).to_pylist(), table)


def entity_keys_of(keys: Sequence[str | None], table: Table) -> list[Any]:
    """Entity keys as Feast's stores know them."""
    name = str(table.entity)
    return [EntityKey(join_keys=[name], entity_values=[Value(string_val=str(key))]) for key in keys]


def expected_values(batch: pa.RecordBatch) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """What a tile's rows should look like online: event time, and features by name.

    Feast's SQLite store keeps the whole seconds of a time.
    """
    names = batch.schema.names[1:-2]
    for row in batch.to_pylist():
        features = {name: _whole_seconds(row[name]) for name in names}
        yield _whole_seconds(row["event_timestamp"]), features


def online_values(found: tuple[datetime, dict[str, Any]]) -> tuple[datetime, dict[str, Any]]:
    """What an online store's reader answered for a key, in the same form."""
    event, values = found
    features = {name: _python_value(value) for name, value in values.items()}
    return event.astimezone(UTC), features


def _python_value(value: Any) -> Any:
    plain = feast_value_type_to_python_type(value)
    if isinstance(plain, datetime):
        return plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)
    return plain


def _whole_seconds(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(microsecond=0)
    return value
