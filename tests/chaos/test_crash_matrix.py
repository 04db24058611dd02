"""The most telling cells of the crash matrix; ``make chaos`` runs all of it over several worlds.

Ray, Triton, DuckDB, Feast and the lake are real, the networks are not: see ``fake_models``.
"""

import errno

import pytest
from chaos.cells import Cell, cells_for, own_victim
from chaos.lane import Lane, Prepared
from chaos.matrix import HITS, IN_JOB

from platemill.failpoints import POINTS

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

# From where, at which point, who, how.
TELLING = [
    ("base", "inventory.manifest.after", "flow", "kill"),
    ("recognised", "plan.document.before", "flow", "kill"),
    ("base", "shard.rows.after", "worker", "kill"),
    ("base", "shard.record.before", "driver", "kill"),
    ("base", "shard.record.before", "raylet", "kill"),
    ("base", "shard.record.before", "flow", "zombie"),
    ("base", "shard.record.after", "worker", "error"),
    ("base", "shard.rows.before", "server", "kill"),
    ("base", "shard.rows.before", "stub", "kill"),
    ("recognised", "lease.take.after", "flow", "kill"),
    ("recognised", "file.name.before", "flow", "error"),
    ("recognised", "file.name.after", "flow", "kill"),
    ("recognised", "facts.day.after", "flow", "kill"),
    ("recognised", "tiles.period.before", "flow", "kill"),
    ("recognised", "tiles.history.after", "flow", "kill"),
    ("recognised", "features.stage.before", "flow", "kill"),
    ("recognised", "features.chunk.after", "flow", "kill"),
    ("recognised", "features.rows.after", "flow", "kill"),
    ("recognised", "features.stage.after", "flow", "kill"),
    ("recognised", "publish.commit.before", "flow", "kill"),
    ("recognised", "publish.commit.after", "flow", "kill"),
    ("recognised", "publish.commit.after", "flow", "error"),
    ("recognised", "publish.sweep.after", "flow", "kill"),
    ("recognised", "publish.warehouse.before", "flow", "kill"),
    ("recognised", "publish.warehouse.after", "flow", "kill"),
    ("recognised", "publish.online.before", "flow", "kill"),
    ("recognised", "publish.store.after", "flow", "kill"),
    ("recognised", "publish.online.after", "flow", "kill"),
    ("rollback", "publish.commit.after", "flow", "kill"),
    ("rollback", "rollback.draft.after", "flow", "kill"),
    ("vacuum", "vacuum.file.after", "flow", "kill"),
]


@pytest.mark.parametrize(("start", "point", "victim", "how"), TELLING)
def test_a_night_that_is_hit_and_run_again_is_as_one_that_was_not(
    lane: Lane, world: Prepared, start: str, point: str, victim: str, how: str
) -> None:
    cells = cells_for(world.seed, world.hits, hits_each=1, in_job=1)
    wanted = (start, point, victim, how)
    [cell] = [c for c in cells if (c.start, c.point, c.victim, c.how) == wanted]
    outcome = lane.run(cell, world)
    assert outcome.problems == ()
    assert outcome.reads > 0


def test_every_point_that_a_night_or_a_command_passes_is_in_the_matrix(world: Prepared) -> None:
    cells = cells_for(world.seed, world.hits, hits_each=HITS, in_job=IN_JOB)
    # A bucket's points are passed where the lake is in a bucket: tests/integration/test_lake_s3*;
    # Redis's where the online store is there: tests/integration/test_online_redis.py.
    elsewhere = ("bucket.", "redis.")
    assert {cell.point for cell in cells} == {p for p in POINTS if not p.startswith(elsewhere)}
    inside = {cell.point for cell in cells if own_victim(cell.point) == "worker"}
    for point in inside:
        victims = {cell.victim for cell in cells if cell.point == point and cell.how == "kill"}
        assert victims == {"flow", "driver", "worker", "raylet", "server", "stub"}


def test_an_order_says_what_happens_at_the_point() -> None:
    def order(victim: str, how: str, point: str = "shard.record.after") -> dict[str, object]:
        return Cell(point, victim, how, 1, 2, "base").order()

    assert order("worker", "kill") == {"action": "kill", "hit": 2}
    assert order("raylet", "kill") == {"action": "pause", "hit": 2}
    assert order("flow", "zombie") == {"action": "pause", "hit": 2}
    assert order("worker", "error") == {"action": "error", "errno": errno.EIO, "hit": 2}
    full = order("worker", "error", "shard.record.before")
    assert full == {"action": "error", "errno": errno.ENOSPC, "hit": 2}
