"""The question in each table's README is one that the warehouse answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_lake import PROJECT, settings_for

from platemill.warehouse.query import run_sql

READMES = sorted((PROJECT / "warehouse" / "sql").glob("*/README.md"))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_its_sql_runs(readme: Path, tmp_path: Path) -> None:
    [question] = re.findall(r"```sql\n(.+?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert readme.parent.name in question
    assert run_sql(settings_for(tmp_path), question).num_columns > 0
