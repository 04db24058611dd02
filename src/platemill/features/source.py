"""A table of the lake as a Feast data source: its name, not a path.

Which files it has is read from the current generation's manifest when it is asked. A glob would
show files of generations that were superseded, or are not published yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ibis
from feast import RepoConfig, ValueType
from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.type_map import pa_to_feast_value_type

from platemill.errors import ConfigurationError
from platemill.features.versions import version_files, version_rows
from platemill.lake import Generation, Lake
from platemill.schema import TABLES, Table

__all__ = ["LakeTable", "read_lake_table"]

_CLASS = "platemill.features.source.LakeTable"


class LakeTable(DataSource):  # type: ignore[misc]
    """The rows of a tile table, the superseded ones included.

    Args:
        table: a table of the schema that has ``event_timestamp`` and ``created_timestamp``.
        given: what Feast's ``DataSource`` takes besides: description, tags, owner …
    """

    def __init__(self, *, table: str, **given: Any) -> None:
        super().__init__(
            **{
                "name": table,
                "timestamp_field": "event_timestamp",
                "created_timestamp_column": "created_timestamp",
                **given,
            }
        )
        self.table = table

    def source_type(self) -> Any:
        """Feast's number for a source that it does not know itself."""
        return DataSourceProto.CUSTOM_SOURCE

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LakeTable) and super().__eq__(other) and self.table == other.table

    def __hash__(self) -> int:
        return hash((self.name, self.table))

    @staticmethod
    def from_proto(data_source: Any) -> LakeTable:
        """Read it back from the registry."""
        said = json.loads(data_source.custom_options.configuration)
        return LakeTable(
            table=said["table"],
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> Any:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps({"table": self.table}).encode()
            ),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Refuse a table that the schema does not have."""
        _schema_table(self.table)

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """How Feast reads the types that the next method says."""
        convert: Callable[[str], ValueType] = pa_to_feast_value_type
        return convert

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The schema's columns with Arrow's names of their types."""
        return [(field.name, str(field.type)) for field in _schema_table(self.table).arrow]

    def get_table_query_string(self) -> str:
        """The name under which ``warehouse.duckdb`` shows the table."""
        return f'"{self.table}"'


def read_lake_table(source: LakeTable, lake: Lake, generation: Generation | None, sql: Path) -> Any:
    """A generation's rows of a table, and those they superseded, for Feast's joins.

    Only rows of the generation's pipeline version: a training set never mixes two models. A
    superseded row has an older ``created_timestamp``; a key that lost its row has a newer one
    that is all null.

    Args:
        source: which table.
        lake: where its files are.
        generation: which night's; None before the first.
        sql: the folder of the SQL files, for tables that are derived from another.

    Returns:
        An ibis table with the schema's columns.
    """
    table = _schema_table(source.table)
    files = [] if generation is None else version_files(generation, table)
    if generation is None or not files:
        return ibis.memtable(table.arrow.empty_table())
    version = generation.pipeline_version
    if table.derived_from is not None:
        rows_sql = version_rows(lake, table, files, sql, version)
        # Left to find the columns itself, ibis leaves a result open and the next query is refused.
        return ibis.get_backend().sql(rows_sql, schema=ibis.Schema.from_pyarrow(table.arrow))
    paths = lake.storage.locate_all([entry.path for entry in files])
    rows = ibis.read_parquet([str(path) for path in paths], hive_partitioning=False)
    return rows.filter(rows.pipeline_version == version).select(table.arrow.names)


def _schema_table(name: str) -> Table:
    try:
        return TABLES[name]
    except KeyError:
        raise ConfigurationError(
            f"the schema has no table {name!r}; it has: {', '.join(TABLES)}"
        ) from None
