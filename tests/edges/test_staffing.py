"""How many workers a job wants, and who goes: known without a cluster."""

from __future__ import annotations

import pytest

from ray_jobs.hands import Hired
from ray_jobs.staffing import need_of, options_of, superfluous, wanted_workers


@pytest.mark.parametrize(
    ("most", "busy", "waiting", "each", "alone", "wanted"),
    [
        (4, 0, 100, 1, 0, 4),
        (4, 0, 3, 1, 0, 3),
        (4, 0, 1, 20, 0, 1),
        (8, 0, 100, 20, 0, 5),
        (8, 3, 0, 1, 0, 3),
        (8, 3, 2, 20, 0, 4),
        (8, 0, 0, 1, 2, 2),
        (2, 2, 0, 1, 2, 2),
        (8, 0, 0, 1, 0, 0),
    ],
)
def test_as_many_workers_as_the_shards_are_worth(
    most: int, busy: int, waiting: int, each: int, alone: int, wanted: int
) -> None:
    assert wanted_workers(most, busy, waiting, each, alone) == wanted


def test_a_worker_takes_a_cpu_and_what_is_said() -> None:
    assert options_of(need_of({})) == {"num_cpus": 1.0, "resources": {}}
    assert options_of(need_of({"GPU": 0.5, "CPU": 2, "slot": 1})) == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "resources": {"slot": 1},
    }


def worker(name: str, node: str, *shards: str, connecting: bool = False) -> Hired:
    return Hired(None, name, node=node, shards=set(shards), connecting=connecting)


def names(workers: list[Hired]) -> list[str]:
    return [one.name for one in workers]


def test_who_waits_for_a_node_goes_before_who_has_one() -> None:
    workers = [worker("w1", "a"), worker("w2", ""), worker("w3", "b", "s"), worker("w4", "")]
    assert names(superfluous(workers, 0, [])) == []
    assert names(superfluous(workers, -1, [])) == []
    assert names(superfluous(workers, 1, [])) == ["w4"]
    assert names(superfluous(workers, 2, [])) == ["w4", "w2"]
    assert names(superfluous(workers, 3, [])) == ["w4", "w2", "w1"]


def test_a_node_goes_as_a_whole_or_not_at_all() -> None:
    workers = [
        *(worker("w1", "a"), worker("w2", "a")),
        *(worker("w3", "b", "s"), worker("w4", "b")),
        worker("w5", "c"),
        worker("w6", "d", connecting=True),
    ]
    assert names(superfluous(workers, 1, [])) == ["w5"]
    assert names(superfluous(workers, 2, [])) == ["w5"]
    assert names(superfluous(workers, 3, [])) == ["w5", "w1", "w2"]
    # A node where a shard is worked alone is kept, though nobody works this moment.
    assert names(superfluous(workers, 4, ["c"])) == ["w1", "w2"]
