"""Feast's DuckDB offline store over the lake's manifests."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _write_data_source,
)
from feast.infra.offline_stores.ibis import (
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

from platemill.errors import ConfigurationError
from platemill.features.source import LakeTable, read_lake_table
from platemill.lake import Generation, Lake, open_lake
from platemill.settings import load_settings

__all__ = ["LakeOfflineStore", "LakeOfflineStoreConfig"]


class LakeOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """The ``offline_store`` part of ``feature_store.yaml``."""

    type: Literal["platemill.features.offline_store.LakeOfflineStore"] = (
        "platemill.features.offline_store.LakeOfflineStore"
    )
    home: str
    """The deployment's folder."""
    lake_url: str | None = None
    """Where the lake is; default: ``PLATEMILL_LAKE_URL``, else the folder in the home."""
    corrected_past: bool = False
    """Give training sets what is known today about the past, corrections that came later too."""


class LakeOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """The DuckDB offline store with two differences.

    A source is a table of a generation, and a training set holds nothing that was not known yet.
    """

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest row of each key in a window; ``feast materialize`` asks for it."""
        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            **_access(config),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row of a window."""
        return pull_all_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            **_access(config),
        )

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """A training set: for each entity row what was the newest thing known at its time.

        Feast's own default would also use rows that were written after that time. Here that is
        asked for in the configuration (``corrected_past``), and ``filter_by_created_timestamp``
        overrules it.
        """
        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            feature_refs=feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            full_feature_names=full_feature_names,
            filter_by_created_timestamp=(
                filter_by_created_timestamp or not config.offline_store.corrected_past
            ),
            **_access(config),
        )


def _access(config: RepoConfig) -> dict[str, Any]:
    given = config.offline_store
    settings = load_settings(home=Path(given.home), lake_url=given.lake_url)
    lake = open_lake(settings)
    return {
        # Asked once: a night may be published while the views of one call are read.
        "data_source_reader": partial(_read, lake, lake.current(), settings.sql),
        "data_source_writer": _write_data_source,
        "staging_location": config.offline_store.staging_location,
        "staging_location_endpoint_override": (
            config.offline_store.staging_location_endpoint_override
        ),
    }


def _read(
    lake: Lake, generation: Generation | None, sql: Path, data_source: DataSource, _repo_path: str
) -> Any:
    if not isinstance(data_source, LakeTable):
        raise ConfigurationError(
            f"the source {data_source.name!r} is a {type(data_source).__name__}; "
            "this offline store reads tables of the lake only (platemill.features.source.LakeTable)"
        )
    return read_lake_table(data_source, lake, generation, sql)
