"""Cases as data: ``<table>/<case>/{input,params,expect}.yaml`` for each table's ``query.sql``.

``input.yaml`` holds rows by table; a column that is left out gets a plain value of its type, and a
fact's ``day`` is that of ``captured_at``. ``expect.yaml`` holds the rows that must come out, in the
order of the table's key; a column that a row leaves out is not looked at, but over all cases of a
table every column is. A histogram may be written as its bins that are not 0: ``{8: 2, 23: 1}``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

from platemill.schema import CONFIDENCE_BINS, TABLES, TILES, Column

HERE = Path(__file__).parent
SQL = HERE.parents[1] / "warehouse" / "sql"
BINS = {"hours": 24, "confidence_histogram": CONFIDENCE_BINS}
CASES = sorted(path.parent for path in HERE.glob("*/*/expect.yaml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def plain(column: Column, row: dict[str, Any]) -> Any:
    """A value for a column that a case does not care about."""
    if column.name == "day" and "captured_at" in row:
        return typed(TABLES["images"].column("captured_at"), row["captured_at"]).date()
    if column.nullable:
        return None
    if pa.types.is_timestamp(column.type):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if pa.types.is_decimal(column.type):
        return Decimal(0)
    if pa.types.is_floating(column.type):
        return 0.5
    if pa.types.is_integer(column.type):
        return 0
    if pa.types.is_date(column.type):
        return date(2026, 1, 1)
    if column.name in BINS:
        return [0] * BINS[column.name]
    return {"pipeline_version": "p1"}.get(column.name, "x")


def typed(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(column.type) and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if pa.types.is_decimal(column.type):
        return Decimal(str(value))
    if pa.types.is_float32(column.type):
        return pa.scalar(value, pa.float32()).as_py()
    if column.name in BINS:
        return [value.get(place, 0) for place in range(BINS[column.name])]
    if pa.types.is_list(column.type):
        return pa.scalar(value, column.type).as_py()
    return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_case(case: Path) -> None:
    table = TABLES[case.parent.name]
    params = load(case / "params.yaml")
    given = load(case / "input.yaml")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for source in TABLES.values():
            rows = [
                {
                    c.name: typed(c, row[c.name]) if c.name in row else plain(c, row)
                    for c in source.columns
                }
                for row in given.get(source.name, [])
            ]
            assert all(set(row) <= set(source.arrow.names) for row in given.get(source.name, []))
            connection.register(source.name, pa.Table.from_pylist(rows, schema=source.arrow))
        known = datetime.fromisoformat(params["created_timestamp"]).replace(tzinfo=UTC)
        query = (SQL / table.name / "query.sql").read_text(encoding="utf-8")
        answer = connection.sql(query, params={**params, "created_timestamp": known})
        found = sorted(
            answer.to_arrow_table().cast(table.arrow).to_pylist(),
            key=lambda row: [row[name] for name in table.key],
        )
    expected = load(case / "expect.yaml")
    wanted = [{k: typed(table.column(k), v) for k, v in row.items()} for row in expected]
    picked = [{name: row[name] for name in want} for row, want in zip(found, wanted, strict=False)]
    assert picked == wanted
    assert len(found) == len(wanted)


@pytest.mark.parametrize("table", TILES, ids=lambda table: table.name)
def test_every_column_is_looked_at(table: Any) -> None:
    rows = [
        row
        for case in CASES
        if case.parent.name == table.name
        for row in load(case / "expect.yaml")
    ]
    assert {name for row in rows for name in row} == set(table.arrow.names)
