"""``platemill sql``: ad-hoc SQL over the current generation."""

from __future__ import annotations

import csv as csv_module
import sys
from typing import Annotated

import typer

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table
from platemill.errors import ConfigurationError
from platemill.settings import load_settings

__all__ = ["sql"]


def sql(
    query: Annotated[str, typer.Argument(help="A SELECT, in DuckDB's SQL.")],
    home: HomeOption,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header on stdout.")] = False,
) -> None:
    """Ask ad-hoc SQL, read-only, of one whole generation.

    Tables: images, recognitions, plate_day_v1, plate_week_v1, plate_month_v1, camera_day_v1,
    camera_week_v1, camera_month_v1, plate_camera_day_v1, image_recognitions_v1,
    plate_trailing_v1, camera_trailing_v1, check_results, run_costs, generation.
    docs/data-dictionary.md describes every column.

        platemill sql --home ./home "SELECT plate, sum(sightings) FROM plate_day_v1 GROUP BY 1"
    """
    from platemill.warehouse.query import run_sql

    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other")
    table = run_sql(load_settings(home=home), query)
    columns = [list(column.to_pylist()) for column in table.columns]
    rows = list(zip(*columns, strict=True)) if columns else []
    if json:
        names = table.column_names
        print_json({"columns": names, "rows": [dict(zip(names, r, strict=True)) for r in rows]})
    elif csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(rows)
    else:
        print_table(table.column_names, rows)
