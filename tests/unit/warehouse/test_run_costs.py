"""What runs took is a table: every run once, failed ones too, whoever records it and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from journals import event, save, stage, whole_night
from small_lake import NIGHT, Photo, at, draft_night, later, settings_for

from platemill.costs.estimate import rates_of
from platemill.costs.history import last_rows, uncounted
from platemill.lake import Generation, open_lake
from platemill.lake.vacuum import find_waste
from platemill.settings import Settings
from platemill.warehouse.publish import publish
from platemill.warehouse.query import run_sql
from platemill.warehouse.rollback import draft_rollback, holds_the_same
from platemill.warehouse.run_costs import record_run_costs

RUNS = "SELECT run_id, outcome, run_day, round(sum(node_seconds), 3) AS spent FROM run_costs "
RUNS += "GROUP BY ALL ORDER BY run_id"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home", node_prices={"cpu": 3.6})


def photo(n: int) -> Photo:
    return Photo(f"file:///c1/{n}.jpg", "c1", at(f"2026-05-0{n} 10:00"), (("A001AA77", 0.9),))


def night(settings: Settings, number: int, *, end: int = 12) -> Generation:
    """A published night, ``r1`` or so, whose journal goes up to the features when it publishes."""
    folder = settings.runs / f"r{number}"
    save(folder, whole_night()[:end], days=number)
    draft = draft_night(settings, [photo(number)], folder.name, now=later(number))
    generation = publish(settings, record_run_costs(settings, draft))
    save(folder, whole_night()[end:], days=number)
    return generation


def runs(settings: Settings) -> list[tuple[Any, ...]]:
    rows = run_sql(settings, RUNS).to_pylist()
    return [(row["run_id"], row["outcome"], row["spent"]) for row in rows]


def test_a_night_counts_itself_up_to_its_features_and_the_next_one_the_rest(
    settings: Settings,
) -> None:
    night(settings, 1)
    assert runs(settings) == [("r1", "published", 128)]
    night(settings, 2)
    assert runs(settings) == [("r1", "published", 130), ("r2", "published", 128)]


def test_runs_that_failed_or_found_nothing_are_counted_by_who_publishes_next(
    settings: Settings,
) -> None:
    save(settings.runs / "r0", whole_night()[:5])
    save(settings.runs / "r1-quiet", [stage("inventory", 0, 3), stage("plan", 3, 4)], days=1)
    save(settings.runs / "r1-torn", [])
    night(settings, 2)
    assert runs(settings) == [
        ("r0", "stopped", 88.75),
        ("r1-quiet", "nothing_new", 4),
        ("r2", "published", 128),
    ]


def test_recording_again_changes_nothing(settings: Settings) -> None:
    save(settings.runs / "r0", whole_night()[:5])
    save(settings.runs / "r1", whole_night()[:12])
    draft = draft_night(settings, [photo(1)])
    once = record_run_costs(settings, draft)
    twice = record_run_costs(settings, once)
    assert twice.generation == once.generation
    assert twice.changed == once.changed
    publish(settings, twice)
    assert list(uncounted(settings, open_lake(settings), open_lake(settings).current())) == []


def test_a_run_that_goes_on_replaces_its_rows(settings: Settings) -> None:
    save(settings.runs / "r0", whole_night()[:5])
    night(settings, 1)
    save(settings.runs / "r0", whole_night()[5:])
    night(settings, 2)
    assert [row for row in runs(settings) if row[0] == "r0"] == [("r0", "published", 130)]


def test_garbage_in_a_journal_of_another_run_stops_no_night(settings: Settings) -> None:
    folder = settings.runs / "r0"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(b'\xff\xfe\n{"at": 7, "event": []}\n{"at":\n[1]\nnull\n')
    save(folder, [event(5, "stage", stage=None)])
    night(settings, 1)
    assert [row[0] for row in runs(settings)] == ["r1"]


def test_a_night_without_a_journal_is_published_all_the_same(settings: Settings) -> None:
    publish(settings, record_run_costs(settings, draft_night(settings, [photo(1)])))
    assert runs(settings) == []


def test_a_rollback_keeps_what_was_paid(settings: Settings) -> None:
    first, second = night(settings, 1), night(settings, 2)
    third = publish(settings, draft_rollback(second, first, run_id="back", now=later(3)))
    assert third.partitions("images") == first.partitions("images")
    assert third.partitions("run_costs") == second.partitions("run_costs")
    assert holds_the_same(third, first)
    assert [row[0] for row in runs(settings)] == ["r1", "r2"]


def test_a_vacuum_removes_files_that_grew(settings: Settings) -> None:
    night(settings, 1)
    night(settings, 2)
    waste = find_waste(open_lake(settings), [1], staged_before=NIGHT, planned=None)
    [costs] = [kind for kind in waste if kind.kind == "run_costs"]
    assert len(costs.entries) == 1


def test_a_stock_duckdb_answers_what_a_million_images_cost(settings: Settings) -> None:
    night(settings, 1)
    night(settings, 2)
    question = """
        SELECT stage, day, pipeline_version, sum(price) / sum(images) * 1e6 AS million
        FROM run_costs WHERE stage = 'recognise' GROUP BY ALL ORDER BY day
    """
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as connection:
        found = connection.execute(question).fetchall()
        whole: Any = connection.execute(
            "SELECT sum(price), sum(node_seconds) / 3600 * 3.6, any_value(currency), "
            "count(*), count(DISTINCT (run_id, stage, day, node_kind)) FROM run_costs"
        ).fetchone()
    assert [(str(day), round(million, 3)) for _, day, _, million in found] == [
        ("2026-05-01", 1625.0),
        ("2026-05-02", 1625.0),
    ]
    assert whole[0] == pytest.approx(whole[1])
    assert whole[2] == "EUR"
    assert whole[3] == whole[4]


def test_rates_come_from_the_table_and_from_journals_that_are_newer(settings: Settings) -> None:
    night(settings, 1)
    night(settings, 2)
    save(settings.runs / "r3", whole_night()[:7], days=3)
    rates = rates_of(last_rows(settings, open_lake(settings)), "p1")
    assert rates is not None
    assert rates.run_ids == ("r3", "r2", "r1")
    # The table is enough for a home on another machine.
    for folder in settings.runs.iterdir():
        (folder / "journal.jsonl").unlink()
    rates = rates_of(last_rows(settings, open_lake(settings)), "p1")
    assert rates is not None
    assert rates.run_ids == ("r2", "r1")
