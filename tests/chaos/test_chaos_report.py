"""What the harness says of its results: no failure is hidden, no rise is called flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chaos.contents import differences, hashes_of
from chaos.report import fill, matrix_table, soak_table
from chaos.soak import CURVES, flat, sparkline

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def line(victim: str, problems: list[str], **more: Any) -> dict[str, Any]:
    known = {
        "point": "shard.rows.before",
        "how": "kill",
        "start": "base",
        "seed": 1,
        "seconds": 4.0,
    }
    name = f"{victim}{len(problems)}"
    return {"name": name, **known, "victim": victim, "problems": problems, "reads": 10, **more}


def test_the_matrix_counts_what_passed_and_names_what_failed() -> None:
    lines = [line("flow", []), line("flow", ["a row is lost"], seed=2), line("raylet", [])]
    page = matrix_table(lines)
    assert page.startswith("3 runs over 2 worlds: 2 passed, 1 failed.")
    [row] = [text for text in page.splitlines() if text.startswith("| `shard.rows.before`")]
    assert row.split(" | ")[1:5] == ["1/2", "–", "–", "1/1"]
    assert "- `flow1`: a row is lost" in page


def test_the_page_keeps_what_is_around_its_marks() -> None:
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert fill(page, "x", "new") == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    with pytest.raises(ValueError, match="no place for y"):
        fill(page, "y", "new")
    for name in ("matrix", "whole nights", "soak"):
        assert "new" in fill(PAGE.read_text(), name, "new")


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_that_rises_is_not_flat(curve: str) -> None:
    noise = [1000.0, 1010.0, 990.0, 1005.0, 995.0, 1000.0]
    assert flat(curve, noise) is None
    assert flat(curve, sorted(noise, reverse=True)) is None
    assert "rose from" in str(flat(curve, [1000.0 + 60 * n for n in range(30)]))


def test_the_soak_shows_its_curves() -> None:
    samples = [{"seconds": 2.0 * n, **dict.fromkeys(CURVES, float(n))} for n in range(9)]
    said = {"first_third": 1.0, "last_third": 7.0, "highest": 8.0}
    page = soak_table(
        {"images": 20_000, "samples": samples, "problems": [], **dict.fromkeys(CURVES, said)}
    )
    assert page.startswith("20,000 images in 16 s, 9 samples: flat.")
    assert page.count(sparkline([float(n) for n in range(9)])) == len(CURVES)
    assert sparkline([0.0, 8.0]) == "▁█"


def test_a_row_more_or_fewer_or_other_is_a_difference() -> None:
    rows = {"images": ["a", "b"], "plate_day_v1": ["c"]}
    assert differences(rows, {"plate_day_v1": ["c"], "images": ["a", "b"]}) == []
    for other in (["a"], ["a", "b", "b"], ["a", "x"]):
        assert len(differences(rows, {**rows, "images": other})) == 1
    assert len(differences(rows, {"images": ["a", "b"]})) == 1
    assert hashes_of(rows)["images"] != hashes_of({"images": ["ab"]})["images"]
