"""What checks found, as rows of the lake: ``check_results``, a file a UTC day of checking."""

from __future__ import annotations

import pyarrow as pa

from platemill.lake import open_lake
from platemill.lake.files import GROUP_ROWS, write_parquet
from platemill.schema import CHECK_RESULTS
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import connect, create_view

__all__ = ["record_results"]


def record_results(settings: Settings, draft: Draft, results: pa.Table) -> Draft:
    """Add the results of a draft's checks to the draft, so that they are published with it.

    Recording them again changes nothing: the day's file is the parent's rows of the day and these.

    Args:
        settings: where the lake is.
        draft: the generation that was checked.
        results: what ``run_checks`` returned.
    """
    lake = open_lake(settings)
    table = CHECK_RESULTS
    day = draft.generation.created_at.date()
    before = draft.before(table.name, day)
    prefix = draft.generation.prefix(f"{table.name}/day={day.isoformat()}")
    keys = ", ".join(table.key)
    with connect(lake, memory=settings.duckdb_memory) as connection:
        create_view(connection, lake, table, [before] if before else [], name="before")
        connection.register("results", results)
        rows = connection.sql(
            f"SELECT * FROM before ANTI JOIN results USING ({keys}) UNION ALL "
            f"SELECT * FROM results ORDER BY {keys}"
        )
        entry = write_parquet(
            lake.storage, prefix, table.arrow, rows.to_arrow_reader(GROUP_ROWS), before=before
        )
    return draft.with_files(table.name, {day: entry})
