"""The data dictionary, written from ``schema.py``: ``python -m platemill.warehouse.dictionary``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from platemill.schema import (
    CHECK_RESULTS,
    DERIVED,
    FACTS,
    RUN_COSTS,
    SCHEMA_VERSION,
    TILES,
    Table,
)
from platemill.warehouse.duck import sql_type

__all__ = ["dictionary", "main"]

_HEAD = f"""# Data dictionary

Written from `src/platemill/schema.py` by `python -m platemill.warehouse.dictionary`; a test fails
when the two differ. Schema version {SCHEMA_VERSION}. Times are UTC, in microseconds; the online
store keeps whole seconds. `warehouse.duckdb` shows every table, with these descriptions as
comments (`SELECT * FROM duckdb_columns()`).

- A *sighting* is one plate of one photo: camera, time, content and place on the photo. A photo that
  is archived under two names is two rows of the facts and one sighting of the tiles.
- Tiles hold well-formed plates only; the camera tiles' `plates` counts the others too.
- A trailing window is asked by the newest row up to a day: `as_of <= DATE '2026-05-31' ORDER BY
  as_of DESC LIMIT 1`.
- A tile's row speaks of one `pipeline_version`. Ask for one of them when you add rows up.
"""


def dictionary() -> str:
    """The whole document, Markdown."""
    parts = [
        _HEAD,
        *_section("Facts", FACTS),
        *_section("Tiles", TILES),
        *_section("Trailing windows", DERIVED),
        *_section("Checks", [CHECK_RESULTS]),
        *_section("Costs", [RUN_COSTS]),
    ]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the document to the file that is named, else to standard output."""
    if arguments:
        Path(arguments[0]).write_text(dictionary(), encoding="utf-8")
    else:
        sys.stdout.write(dictionary())
    return 0


def _section(title: str, tables: Iterable[Table]) -> list[str]:
    return [f"## {title}\n", *(_table(table) for table in tables)]


def _table(table: Table) -> str:
    stored = f"a file a {table.partition}"
    if table.derived_from is not None:
        stored = f"a view over `{table.derived_from}`"
    facts = [f"Key `{', '.join(table.key)}`, {stored}."]
    if table.entity is not None:
        facts.append(f"Feature view of `{table.entity}`")
        if table.ttl is not None:
            facts[-1] += f", answering for {table.ttl.days} days after `event_timestamp`"
        facts[-1] += "; its features are marked."
    facts.append(f"Owner: {table.owner}.")
    tags = ", ".join(f"{name}: {value}" for name, value in sorted(table.tags.items()))
    if tags:
        facts.append(f"Tags: {tags}.")
    lines = [
        f"### {table.name}\n",
        f"{table.description[0].upper()}{table.description[1:]}.\n",
        " ".join(facts) + "\n",
        "| column | type | unit | null | feature | what it says |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{column.name}` | {sql_type(column.type)} | {column.unit} | "
        f"{'yes' if column.nullable else ''} | {'yes' if column.feature else ''} | "
        f"{column.description} |"
        for column in table.columns
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
