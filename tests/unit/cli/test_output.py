"""What the commands print."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest

from platemill.cli.output import print_json, print_table


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {
            "at": dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC),
            "day": dt.date(2026, 5, 4),
            "sum": Decimal("1.500000"),
            "count": Decimal("3.000"),
            "nan": float("nan"),
            "list": (1, "Ж"),
        }
    )
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "at": "2026-05-04T12:00:00Z",
        "day": "2026-05-04",
        "sum": 1.5,
        "count": 3,
        "nan": None,
        "list": [1, "Ж"],
    }


def test_a_cell_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("path", "n"), [("[red]/x[/red]", 1), (None, 22)])
    printed = capsys.readouterr().out
    assert "[red]/x[/red]" in printed
    assert "None" not in printed
