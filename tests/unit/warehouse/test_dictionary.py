"""The data dictionary in docs/ is the schema's."""

from __future__ import annotations

from pathlib import Path

from small_lake import PROJECT

from platemill.schema import TABLES
from platemill.warehouse.dictionary import dictionary, main


def test_the_document_is_up_to_date() -> None:
    written = (PROJECT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert written == dictionary(), (
        "docs/data-dictionary.md is not the schema's; run "
        "python -m platemill.warehouse.dictionary docs/data-dictionary.md"
    )


def test_every_table_and_column_is_in_it() -> None:
    for table in TABLES.values():
        section = dictionary().split(f"### {table.name}\n")[1].split("\n### ")[0]
        for column in table.columns:
            assert f"| `{column.name}` |" in section
            assert column.description in section


def test_it_is_written_where_one_says(tmp_path: Path) -> None:
    assert main([str(tmp_path / "d.md")]) == 0
    assert (tmp_path / "d.md").read_text(encoding="utf-8") == dictionary()
