"""What runs took, as rows of the lake: ``run_costs``, a file a UTC day on which runs began."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

import pyarrow as pa

from platemill.costs.history import rows_of_run, uncounted
from platemill.lake import open_lake
from platemill.lake.files import GROUP_ROWS, write_parquet
from platemill.schema import RUN_COSTS
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import connect, create_view

__all__ = ["record_run_costs"]


def record_run_costs(settings: Settings, draft: Draft) -> Draft:
    """Add to a draft what runs took, so that it is published with it.

    Every run whose journal lies in this home and says more than its rows: the run that publishes,
    up to now, and runs before it. A run's rows replace those that it had, so nothing is counted
    twice, however often it is recorded and whoever does.

    Args:
        settings: where the lake and the runs are, and the price table.
        draft: the generation that is about to be published.
    """
    lake = open_lake(settings)
    run_id = draft.generation.run_id
    days: dict[date, list[dict[str, Any]]] = defaultdict(list)
    mine = rows_of_run(settings, settings.runs / run_id, published=True)
    others = (r for r in uncounted(settings, lake, draft.parent) if r[0]["run_id"] != run_id)
    for rows in (mine, *others):
        for row in rows:
            days[row["run_day"]].append(row)
    table = RUN_COSTS
    files = {}
    with connect(lake, memory=settings.duckdb_memory) as connection:
        for day, rows in sorted(days.items()):
            before = draft.before(table.name, day)
            prefix = draft.generation.prefix(f"{table.name}/run_day={day.isoformat()}")
            create_view(connection, lake, table, [before] if before else [], name="before")
            connection.register("counted", pa.Table.from_pylist(rows, schema=table.arrow))
            found = connection.sql(
                "SELECT * FROM before ANTI JOIN counted USING (run_id) UNION ALL "
                f"SELECT * FROM counted ORDER BY {', '.join(table.key)}"
            )
            files[day] = write_parquet(
                lake.storage, prefix, table.arrow, found.to_arrow_reader(GROUP_ROWS), before=before
            )
    return draft.with_files(table.name, files)
