"""A job knows from its run's journal what has been spent, while others write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from journals import BEGIN, estimate, node_up, save, stage, whole_night

from platemill.costs.spend import Spend

NOW = BEGIN.timestamp()


def test_a_run_without_a_budget_is_never_over(tmp_path: Path) -> None:
    assert not Spend(tmp_path).is_over()
    save(tmp_path, whole_night())
    spend = Spend(tmp_path)
    assert spend.spent(NOW + 130) is None
    assert not spend.has_budget
    assert not spend.is_over()


def test_it_is_what_nodes_were_up_until_now(tmp_path: Path) -> None:
    night = whole_night()
    night[2] = estimate(10, {"2026-05-01": 40}, prices={"cpu": 3.6}, budget=0.2, reserve=0.02)
    save(tmp_path, night[:3])
    spend = Spend(tmp_path)
    # The machine of a private cluster is there before its node says so.
    assert spend.spent(NOW + 40) == (pytest.approx(0.040), 0.02, 0.2)
    save(tmp_path, night[3:6])
    assert spend.spent(NOW + 100) == (pytest.approx(0.100), 0.02, 0.2)
    # Half a line is read when it is whole.
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"at": "2026')
    assert spend.spent(NOW + 100) == (pytest.approx(0.100), 0.02, 0.2)


def test_nodes_elsewhere_count_from_when_they_are_up(tmp_path: Path) -> None:
    prices = {"gpu": 36.0}
    said = {"prices": prices, "private": False, "budget": 1.0}
    save(tmp_path, [estimate(10, {"2026-05-01": 40}, **said), node_up(20, "g1", "gpu")])  # type: ignore[arg-type]
    spend = Spend(tmp_path)
    assert spend.spent(NOW + 60) == (pytest.approx(0.4), 0.0, 1.0)
    # Hours later, and no word of shards in between.
    save(tmp_path, [node_up(4000, "g2", "gpu")])
    found = spend.spent(NOW + 4010)
    assert found is not None
    assert found[0] == pytest.approx(39.9 + 0.1)


def test_a_node_without_a_price_counts_as_the_dearest(tmp_path: Path) -> None:
    said = {"prices": {"cpu": 1.0, "gpu": 36.0}, "private": False, "budget": 1.0}
    save(tmp_path, [estimate(0, {"2026-05-01": 1}, **said), node_up(0, "t1", "tpu")])  # type: ignore[arg-type]
    assert Spend(tmp_path).spent(NOW + 100) == (pytest.approx(1.0), 0.0, 1.0)


def test_an_attempt_before_was_paid_too(tmp_path: Path) -> None:
    said = {"prices": {"cpu": 3.6}, "budget": 0.09}
    first = [estimate(10, {"2026-05-01": 1}, **said), node_up(20)]  # type: ignore[arg-type]
    failed = stage("recognise", 10, 60, error="ServerUnavailable", text="x")
    again = estimate(70, {"2026-05-01": 1}, **said)  # type: ignore[arg-type]
    save(tmp_path, [*first, failed, again, node_up(80)])
    spent = Spend(tmp_path).spent(NOW + 100)
    assert spent is not None
    # 50 and 30 seconds of recognition, and ten between them.
    assert spent[0] == pytest.approx(0.09)


def test_over_is_asked_of_the_clock_and_stays(tmp_path: Path) -> None:
    said = {"prices": {"cpu": 3600.0}, "budget": 5.0}
    # It began long ago.
    save(tmp_path, [estimate(0, {"2026-05-01": 1}, **said), node_up(5)])  # type: ignore[arg-type]
    spend = Spend(tmp_path)
    assert spend.has_budget
    assert spend.is_over()
    (tmp_path / "journal.jsonl").unlink()
    assert spend.is_over()
