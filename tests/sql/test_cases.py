"""Cases as data: ``<table>/<case>/{input,params}.yaml`` and what is to come out.

With an ``expect.yaml`` for the table's ``query.sql`` or ``view.sql``, with a ``checks.yaml`` for
its ``checks.sql``.

``input.yaml`` holds rows by table; a column that is left out gets a plain value of its type, and a
fact's ``day`` is that of ``captured_at``. ``expect.yaml`` holds the rows that must come out, in the
order of the table's key; a column that a row leaves out is not looked at, but over all cases of a
table every column is. A histogram may be written as its bins that are not 0: ``{8: 2, 23: 1}``.
``checks.yaml`` says of some checks what they find; a view that only checks have, a baseline say, is
written in ``input.yaml`` by its name.
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

from platemill.schema import CONFIDENCE_BINS, DERIVED, TABLES, TILES, Column, Table

HERE = Path(__file__).parent
SQL = HERE.parents[1] / "warehouse" / "sql"
BINS = {"hours": 24, "confidence_histogram": CONFIDENCE_BINS}
CASES = sorted(path.parent for path in HERE.glob("*/*/expect.yaml"))
CHECKED = sorted(path.parent for path in HERE.glob("*/*/checks.yaml"))


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


def table_of(name: str) -> Table:
    """The table whose columns a view has."""
    return TABLES[name.removesuffix("_baseline")]


def registered(connection: duckdb.DuckDBPyConnection, given: dict[str, Any]) -> None:
    """Show a case's rows, and the tables that it does not name as empty ones."""
    connection.execute("SET TimeZone = 'UTC'")
    for name in {*TABLES, *(f"{name}_baseline" for name in TABLES), *given}:
        source = table_of(name)
        rows = [
            {
                c.name: typed(c, row[c.name]) if c.name in row else plain(c, row)
                for c in source.columns
            }
            for row in given.get(name, [])
        ]
        assert all(set(row) <= set(source.arrow.names) for row in given.get(name, []))
        # A tombstone has no values.
        schema = pa.schema([field.with_nullable(True) for field in source.arrow])
        connection.register(name, pa.Table.from_pylist(rows, schema=schema))


def times(params: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value).replace(tzinfo=UTC)
        if isinstance(value, str) and value[:2] == "20"
        else value
        for name, value in params.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_case(case: Path) -> None:
    table = TABLES[case.parent.name]
    name = "view.sql" if table.derived_from else "query.sql"
    with duckdb.connect() as connection:
        registered(connection, load(case / "input.yaml"))
        query = (SQL / table.name / name).read_text(encoding="utf-8")
        answer = connection.sql(query, params=times(load(case / "params.yaml")))
        found = sorted(
            answer.to_arrow_table().cast(table.arrow).to_pylist(),
            key=lambda row: [row[name] for name in (*table.key, "created_timestamp")],
        )
    expected = load(case / "expect.yaml")
    wanted = [{k: typed(table.column(k), v) for k, v in row.items()} for row in expected]
    picked = [{name: row[name] for name in want} for row, want in zip(found, wanted, strict=False)]
    assert picked == wanted
    assert len(found) == len(wanted)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_checks_of_a_case(case: Path) -> None:
    params = times(load(case / "params.yaml"))
    found: dict[str, dict[str, Any]] = {}
    with duckdb.connect() as connection:
        registered(connection, load(case / "input.yaml"))
        sql = (SQL / case.parent.name / "checks.sql").read_text(encoding="utf-8")
        for statement in connection.extract_statements(sql):
            given = {name: params[name] for name in statement.named_parameters}
            answer = connection.execute(statement, given)
            names = [column[0] for column in answer.description]
            for row in answer.fetchall():
                said = dict(zip(names, row, strict=True))
                found[said["check_name"]] = said
    for check, wanted in load(case / "checks.yaml").items():
        expected = {
            name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
            for name, value in wanted.items()
        }
        assert {name: found[check].get(name) for name in wanted} == expected, check


@pytest.mark.parametrize("table", (*TILES, *DERIVED), ids=lambda table: table.name)
def test_every_column_is_looked_at(table: Any) -> None:
    rows = [
        row
        for case in CASES
        if case.parent.name == table.name
        for row in load(case / "expect.yaml")
    ]
    assert {name for row in rows for name in row} == set(table.arrow.names)
