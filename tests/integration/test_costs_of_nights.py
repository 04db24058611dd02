"""Nights that are planned, paid and kept within a budget, in a real lake with real checks."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from costed_nights import CostedNights, settings_with_prices
from journals import save, whole_night
from photo_files import encoded, put
from typer.testing import CliRunner

from platemill.cli import app
from platemill.errors import ConfigurationError
from platemill.lake import open_lake
from platemill.launch import outlook, stages, status
from platemill.launch.outlook import dry_run
from platemill.launch.status import home_status
from platemill.warehouse.query import run_sql

DAYS = (1, 2, 3)
A_DAY = 8


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for day in DAYS:
        for n in range(A_DAY):
            put(
                tmp_path / f"photos/gate/2026/03/{day:02}/0705{n:02}.jpg",
                encoded(seed=100 * day + n),
            )
    return tmp_path / "photos"


@pytest.fixture
def nights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: Path) -> CostedNights:
    monkeypatch.setattr(outlook, "pipeline_version", lambda _: "p1")
    return CostedNights(monkeypatch, settings_with_prices(tmp_path / "home"), archive)


def date(day: int) -> dt.date:
    return dt.date(2026, 3, day)


def published(nights: CostedNights) -> dict[int, int]:
    """Day of March → images of it that are in the facts."""
    rows = run_sql(
        nights.settings, "SELECT day, count(*) AS n FROM images GROUP BY day"
    ).to_pylist()
    return {row["day"].day: row["n"] for row in rows}


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below one: when it was changed, and its size."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in sorted(folder.rglob("*"))
    }


def remember(nights: CostedNights, *, seconds_an_image: float) -> None:
    """A night long ago, of as many images, that took so long for each."""
    images = len(DAYS) * A_DAY
    scale = seconds_an_image * images / 65
    days = {"2026-02-01": images}
    save(nights.settings.runs / "r0", whole_night(scale, days), days=-90)


def test_a_dry_run_says_what_there_is_and_changes_nothing(
    nights: CostedNights, archive: Path
) -> None:
    found = dry_run(nights.settings, [str(archive)], None)
    assert not nights.settings.home.exists()
    told = found.to_json()
    assert (told["images_new"], told["images_seen"], told["shards"] > 5) == (24, 24, True)
    assert told["bytes"] == sum(path.stat().st_size for path in archive.rglob("*.jpg"))
    assert [(row["day"], row["images"]) for row in told["days"]] == [(date(d), 8) for d in DAYS]
    assert (told["seconds"], told["price"], told["rates"]) == (None, None, None)
    nights.run(days=frozenset({date(1)}))
    before = everything_in(nights.settings.home)
    told = dry_run(nights.settings, [str(archive)], None).to_json()
    assert everything_in(nights.settings.home) == before
    assert told["images_new"] == 16
    assert told["rates"] == {
        "runs": ["r1"],
        "images": 8,
        "node_kinds": ["cpu"],
        "same_pipeline": True,
    }
    # And it is what the night does then.
    summary = nights.run()
    assert summary["images_new"] == 16
    assert published(nights) == {1: 8, 2: 8, 3: 8}


def test_what_a_stopped_night_recognised_is_not_paid_again(
    nights: CostedNights, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "merge_facts", lambda *_, **_given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nights.run()
    told = dry_run(nights.settings, [str(archive)], None).to_json()
    assert (told["images_new"], told["images_recorded"]) == (24, 24)
    assert "recognise" not in {stage["stage"] for stage in told["stages"]}
    nights.run()
    spent = run_sql(
        nights.settings,
        "SELECT run_id, outcome, sum(images) FILTER (stage = 'recognise')::INT AS images, "
        "sum(images) FILTER (stage = 'tiles')::INT AS tiled FROM run_costs GROUP BY ALL ORDER BY 1",
    ).to_pylist()
    assert spent == [
        {"run_id": "r1", "outcome": "stopped", "images": 24, "tiled": None},
        {"run_id": "r2", "outcome": "published", "images": 0, "tiled": 24},
    ]


def test_estimate_and_actual_are_in_the_summary_and_in_the_table(
    nights: CostedNights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.seconds_a_shard = 0.05
    first = nights.run(days=frozenset({date(1), date(2)}))
    assert first["costs"]["estimated_price"] is None
    assert first["costs"]["price"] == pytest.approx(first["costs"]["node_hours"] * 36, abs=1e-4)
    second = nights.run()
    costs = second["costs"]
    assert costs["currency"] == "USD"
    assert costs["estimated_price"] > 0
    assert costs["stages"]["recognise"]["estimated_seconds"] > 0
    assert costs["stages"]["publish"]["seconds"] > 0
    assert costs["cost_per_million_images"] == pytest.approx(costs["price"] / 8 * 1e6, rel=0.01)
    nights.run()
    monkeypatch.setattr(status, "pipeline_version", lambda _: "p1")
    quiet, shown, _ = home_status(nights.settings)["runs"]
    assert (shown["price"], shown["currency"]) == (costs["price"], "USD")
    assert (quiet["state"], quiet["price"] > 0) == ("nothing new", True)
    with duckdb.connect(str(nights.settings.warehouse_file), read_only=True) as connection:
        rows: Any = connection.execute(
            "SELECT run_id, sum(price), sum(estimated_price), sum(price) / sum(images) "
            "FILTER (stage = 'recognise') * 1e6 FROM run_costs GROUP BY ALL ORDER BY run_id"
        ).fetchall()
        stages_of: Any = connection.execute(
            "SELECT DISTINCT stage FROM run_costs WHERE run_id = 'r2'"
        ).fetchall()
    # The third night found nothing and published nothing, so the second stands as it saw itself.
    assert [row[0] for row in rows] == ["r1", "r2"]
    assert rows[0][1] == pytest.approx(first["costs"]["price"], rel=0.05)
    foreseen = costs["estimated_price"] - costs["stages"]["publish"]["estimated_price"]
    assert rows[1][2] == pytest.approx(foreseen, rel=0.05)
    assert rows[1][3] > 0
    known = {"inventory", "plan", "recognise", "recognise_start", "recognise_idle", "between"}
    assert {stage for (stage,) in stages_of} == known | {"facts", "tiles", "checks", "features"}


def test_a_budget_leaves_whole_days_and_the_next_nights_take_them(nights: CostedNights) -> None:
    remember(nights, seconds_an_image=1.0)  # a night of 24 images: 48 s, 0.48
    summary = nights.run(budget=0.36)
    assert published(nights) == {3: 8, 2: 8}
    assert (summary["days_left"], summary["images_left"], summary["images_new"]) == (1, 8, 16)
    [line] = nights.said
    assert "does not pay for 8 images of 1 days (2026-03-01)" in line
    assert nights.run()["images_new"] == 8
    assert published(nights) == {1: 8, 2: 8, 3: 8}
    assert "days_left" not in nights.run()


def test_a_budget_for_no_day_is_a_mistake_and_publishes_nothing(nights: CostedNights) -> None:
    remember(nights, seconds_an_image=100.0)
    with pytest.raises(ConfigurationError, match="does not pay for any day"):
        nights.run(budget=0.01)
    assert open_lake(nights.settings).current() is None


def test_a_budget_that_is_spent_on_the_way_publishes_whole_days_and_keeps_the_rest(
    nights: CostedNights,
) -> None:
    # Nothing was measured, so all days are begun; after the first shard of the second there is
    # no money left.
    nights.is_over = lambda recorded: recorded > _shards_of_a_day(nights)
    summary = nights.run(budget=1.0)
    assert published(nights) == {3: 8}
    assert (summary["days_left"], summary["images_left"]) == (2, 16)
    [line] = nights.said
    assert "is spent: 16 images of 2 days (2026-03-01, 2026-03-02) are left" in line
    folder = nights.settings.runs / "r1"
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    [budget] = [event for event in events if event["event"] == "budget"]
    assert budget["days_left"] == ["2026-03-01", "2026-03-02"]
    # What was recorded of the second day is not recognised again.
    begun = [e["key"] for e in events if e["event"] == "shard" and e["day"] == "2026-03-02"]
    assert len(begun) == 1
    nights.is_over = lambda _recorded: False
    nights.run()
    assert published(nights) == {1: 8, 2: 8, 3: 8}
    later = (nights.settings.runs / "r2" / "journal.jsonl").read_text().splitlines()
    again = [json.loads(line) for line in later]
    assert begun[0] not in [event["key"] for event in again if event["event"] == "shard"]
    recognised = run_sql(
        nights.settings,
        "SELECT sum(images)::INT AS n FROM run_costs WHERE stage = 'recognise'",
    ).to_pylist()
    assert recognised == [{"n": 24}]


def test_a_budget_that_finishes_no_day_publishes_nothing_and_says_so(
    nights: CostedNights,
) -> None:
    nights.is_over = lambda recorded: recorded >= 1
    summary = nights.run(budget=1.0)
    assert summary["generation"] is None
    assert (summary["images_new"], summary["images_left"]) == (0, 24)
    # A night after it goes on where it stopped.
    nights.is_over = lambda _recorded: False
    assert nights.run()["recognised"] + nights.run()["images_new"] > 0
    assert published(nights) == {1: 8, 2: 8, 3: 8}


def test_a_new_model_that_the_budget_does_not_pay_for_is_not_published_empty(
    nights: CostedNights,
) -> None:
    nights.run()
    nights.version = "p2"
    nights.is_over = lambda _recorded: True
    assert nights.run(budget=1.0)["generation"] == 1
    current = open_lake(nights.settings).current()
    assert current is not None
    assert current.pipeline_version == "p1"


def test_an_image_that_moved_off_a_day_that_is_left_breaks_no_check(
    nights: CostedNights, archive: Path
) -> None:
    nights.run()
    # Of the first day one photo moves to the third, and new ones come to both.
    put(archive / "gate/2026/03/01/080000.jpg", encoded(seed=900))
    put(archive / "gate/2026/03/03/080000.jpg", encoded(seed=901))
    old = archive / "gate/2026/03/01/070500.jpg"
    moved = archive / "gate/2026/03/03/090000.jpg"
    old.rename(moved)
    nights.is_over = lambda recorded: recorded >= 1
    summary = nights.run(budget=1.0)
    assert summary["images_left"] == 1
    assert published(nights)[3] == 10
    nights.is_over = lambda _recorded: False
    nights.run()
    left = run_sql(
        nights.settings, "SELECT count(*)::INT AS n FROM images WHERE deleted_at IS NOT NULL"
    ).to_pylist()
    assert left == [{"n": 1}]
    assert published(nights) == {1: 9, 2: 8, 3: 10}


def test_the_command_tells_people_and_programs(
    nights: CostedNights, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(nights, seconds_an_image=1.0)
    monkeypatch.setenv("PLATEMILL_NODE_PRICES", '{"cpu": 36.0}')
    monkeypatch.setenv("PLATEMILL_SHARD_IMAGES", "4")
    given = ["plan", "--home", str(nights.settings.home), "--archive", str(archive)]
    shown = CliRunner().invoke(app, [*given, "--budget", "0.36"])
    assert shown.exit_code == 0, shown.output
    assert "24 new images of 24: 3 days" in shown.output
    assert Counter(word for word in shown.output.split() if word in ("left", "pays")) == {
        "pays": 2,
        "left": 1,
    }
    assert "recognise_start" in shown.output
    assert "USD" in shown.output
    told = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert told["price"] == pytest.approx(told["node_hours"] * 36)
    assert {stage["stage"] for stage in told["stages"]} >= {"inventory", "recognise", "publish"}
    assert told["rates"]["runs"] == ["r0"]
    monkeypatch.delenv("PLATEMILL_NODE_PRICES")
    free = CliRunner().invoke(app, given)
    assert "node hours" in free.output
    assert "USD" not in free.output


def _shards_of_a_day(nights: CostedNights) -> int:
    """Shards of the newest day in the plan that is being worked on."""
    from platemill.recognize.plan import Plan

    plan = Plan.load(nights.settings.runs / f"r{nights.count}")
    return sum(shard.day == date(3) for shard in plan.shards)
