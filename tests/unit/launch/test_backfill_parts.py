"""A backfill's parts: how days are divided, what is kept of them, how they are shown."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from platemill.launch.backfill import Backfill, Part, divide, newest_backfill
from platemill.launch.backfill_progress import step_of, table_of
from platemill.launch.records import ERROR, REQUEST, SUMMARY, JobProgress, write_progress
from platemill.observe.rate import Rate

FIRST = dt.date(2026, 5, 1)


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def images(*counts: int) -> dict[dt.date, int]:
    return {day(number): count for number, count in enumerate(counts)}


@pytest.mark.parametrize(
    ("counts", "parallel", "most", "sizes"),
    [
        ((), 2, 100, []),
        ((5,), 4, 100, [[5]]),
        ((5, 5, 5, 5), 2, 100, [[5, 5], [5, 5]]),
        ((5, 5, 5, 5), 1, 100, [[5, 5, 5, 5]]),
        ((5, 5, 5, 5), 1, 10, [[5, 5], [5, 5]]),
        # A day is never divided, however large.
        ((1, 500, 1), 1, 10, [[1], [500], [1]]),
        # Days on which only facts change cost no part of their own.
        ((0, 0, 0), 3, 10, [[0, 0, 0]]),
    ],
)
def test_days_are_divided(
    counts: tuple[int, ...], parallel: int, most: int, sizes: list[list[int]]
) -> None:
    waiting = images(*counts)
    parts = divide(waiting, parallel, most)
    assert [[waiting[one] for one in part] for part in parts] == sizes
    assert [one for part in parts for one in part] == sorted(waiting)


def some(run_id: str = "r1", parts: int = 3) -> Backfill:
    made = tuple(
        Part(f"{run_id}-{n}", (day(2 * n), day(2 * n + 1)), 10) for n in range(1, parts + 1)
    )
    return Backfill(run_id, day(0), day(9), 2, made)


def begun(runs: Path, part: Part, done: int = 0, **documents: dict[str, Any]) -> None:
    folder = runs / part.run_id
    folder.mkdir(parents=True)
    (folder / REQUEST).write_text("{}")
    write_progress(folder, JobProgress(images_done=done, images_total=part.images))
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def published(new: int) -> dict[str, Any]:
    about = {
        "images_new": new,
        "recognised": new,
        "no_plate": 0,
        "quarantined": 0,
        "plates": 2 * new,
    }
    return {**about, "seconds": {"total": 3.0}, "generation": 4}


def test_a_backfill_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert newest_backfill(tmp_path) is None
    for run_id in ("20260501T000000-a", "20260502T000000-a"):
        (tmp_path / run_id).mkdir()
        some(run_id).save(tmp_path)
    assert newest_backfill(tmp_path) == some("20260502T000000-a")


def test_a_part_says_how_it_stands(tmp_path: Path) -> None:
    asked = some(parts=4)
    first, second, third, _ = asked.parts
    begun(tmp_path, first, 10, summary=published(10))
    begun(tmp_path, second, 4)
    begun(tmp_path, third, 2, error={"error": "ServerUnavailable", "text": "no answer"})
    rows = asked.rows(tmp_path)
    assert [row["state"] for row in rows] == ["published", "waiting", "failed", "waiting"]
    assert [row["done"] for row in rows] == [10, 4, 2, 0]
    assert rows[2]["error"] == "ServerUnavailable: no answer"
    assert {ERROR, SUMMARY} == {"error.json", "summary.json"}


def test_what_another_run_has_done_meanwhile_is_done(tmp_path: Path) -> None:
    [part] = some(parts=1).parts
    begun(tmp_path, part, summary=published(0))
    row = part.row(tmp_path)
    assert (row["state"], row["done"]) == ("nothing new", 10)


def test_the_summary_adds_the_parts_up(tmp_path: Path) -> None:
    asked = some(parts=2)
    (tmp_path / asked.run_id).mkdir()
    for part, new in zip(asked.parts, (10, 7), strict=True):
        begun(tmp_path, part, new, summary=published(new))
    summary = asked.finish(tmp_path, 4, 12.5)
    assert (summary["recognised"], summary["plates"], summary["images_new"]) == (17, 34, 20)
    assert [row["state"] for row in summary["parts"]] == ["published", "published"]
    kept = json.loads((tmp_path / asked.run_id / SUMMARY).read_text())
    assert (kept["parts"], kept["seconds"]) == (2, {"total": 12.5})


def shown(rows: list[dict[str, Any]]) -> str:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table_of(rows, "5 of 30 images"))
    return capture.get()


def test_the_table_names_days_counts_states_and_errors(tmp_path: Path) -> None:
    asked = some()
    begun(tmp_path, asked.parts[0], 5, error={"error": "CheckFailed", "text": "a [bold] share"})
    text = shown(asked.rows(tmp_path))
    assert "2026-05-03 to 2026-05-04 (2 days)" in text
    assert "failed: CheckFailed: a [bold] share" in text
    assert text.count("waiting") == 2
    assert "5 of 30 images" in text


def test_of_very_many_parts_those_are_shown_that_matter(tmp_path: Path) -> None:
    asked = some(parts=60)
    for part in asked.parts[:30]:
        begun(tmp_path, part, 10, summary=published(10))
    begun(tmp_path, asked.parts[40], 5, error={"error": "CheckFailed", "text": "too many"})
    text = shown(asked.rows(tmp_path))
    assert "CheckFailed" in text
    assert "published" not in text
    assert text.count("\n") < 30


def test_all_parts_together_have_one_progress(tmp_path: Path) -> None:
    asked = some()
    begun(tmp_path, asked.parts[0], 10, summary=published(10))
    begun(tmp_path, asked.parts[1], 5)
    step = step_of(asked.rows(tmp_path), Rate())
    assert (step.done, step.total) == (15, 30)
    assert str(step) == "backfill: 3 parts, 1 published, 2 waiting, 15 of 30 images"
