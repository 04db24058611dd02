"""What nodes that go mean for shards, with hands that only remember what was done to them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from platemill.errors import ServerUnavailable
from platemill.journal import Journal, read_journal
from platemill.settings import Settings, load_settings
from ray_jobs.hands import Hired, Server
from ray_jobs.nodes import NodeWatch
from ray_jobs.shard_queue import ShardQueue
from ray_jobs.turnover import Turnover
from ray_jobs.ward import Ward

A, B = "a" * 56, "b" * 56


class Hands:
    """Stands where ``Staff`` has Ray's actors."""

    def __init__(self) -> None:
        self.workers: list[Hired] = []
        self.servers: dict[str, Server] = {}
        self.done: list[tuple[str, str]] = []

    def at(self, node: str) -> list[Hired]:
        return [hired for hired in self.workers if hired.node == node]

    def hire(self) -> None:
        self.workers.append(Hired(None, f"w{len(self.done)}"))
        self.done.append(("hire", ""))

    def _gone(self, what: str, hired: Hired) -> None:
        self.workers.remove(hired)
        self.done.append((what, hired.name))

    def end(self, hired: Hired) -> None:
        self._gone("end", hired)

    def let_go(self, hired: Hired) -> None:
        self._gone("let_go", hired)

    def lose(self, node: str) -> list[Hired]:
        lost = self.at(node)
        for hired in lost:
            self._gone("lose", hired)
        self.servers.pop(node, None)
        return lost

    def close_server(self, node: str) -> None:
        if self.servers.pop(node, None) is not None:
            self.done.append(("close", node[0]))


class World:
    """Two nodes with a worker each, who have a shard each; ``waiting`` more wait."""

    def __init__(self, folder: Path, waiting: int = 0, **given: Any) -> None:
        settings: Settings = load_settings(home=folder, workers=2, **given)
        self.folder = folder
        self.alive = {A: True, B: True}
        self.notices: dict[str, int] = {}
        self.queue = ShardQueue(["s1", "s2", *(f"more{n}" for n in range(waiting))], 3)
        self.ward = Ward()
        self.staff = Hands()
        for name, node in (("w1", A), ("w2", B)):
            hired = Hired(None, name, node=node, shards={self.queue.take() or ""})
            self.staff.workers.append(hired)
            self.staff.servers[node] = Server(None, "127.0.0.1:1")
        self.failed: list[tuple[str, str]] = []
        watch = NodeWatch(Journal(folder), self._nodes, lambda: self.notices)
        self.turnover = Turnover(
            settings,
            self.staff,  # type: ignore[arg-type]
            watch,
            self.queue,
            self.ward,
            Journal(folder),
            lambda key, why: self.failed.append((key, why)),
        )
        self.turnover.look(now=True)

    def _nodes(self) -> list[dict[str, Any]]:
        # Nobody listens at that port: as if the node were cut off, if it is called alive.
        place = {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 1, "Resources": {}}
        return [{"NodeID": node, "Alive": alive, **place} for node, alive in self.alive.items()]

    def notice(self, node: str, seconds: float) -> None:
        self.notices[node] = int(1000 * (time.time() + seconds))
        self.turnover.look(now=True)


def test_a_lost_node_gives_its_shards_back_and_costs_no_death(tmp_path: Path) -> None:
    world = World(tmp_path, waiting=1)
    world.alive[A] = False
    world.turnover.look(now=True)
    world.turnover.fit()
    assert world.staff.done == [("lose", "w1"), ("hire", "")]
    assert world.failed == [("s1", "it does not answer")]
    assert world.queue.waiting == 2
    # One death more would not isolate it: the loss was none.
    assert [world.queue.take(), world.queue.take()] == ["more0", "s1"]
    assert not world.queue.died("s1")
    kinds = [e["event"] for e in read_journal(tmp_path)]
    assert kinds == ["node_up", "node_up", "node_down", "server_lost", "worker_lost"]


def test_a_node_that_refuses_is_lost_before_the_cluster_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.turnover.is_gone(A, "its worker cannot be reached")
    assert world.failed == [("s1", "it takes no connections any more")]
    assert world.turnover.is_gone(A, "said again")
    assert world.turnover.spares(A, "s1", "and again")
    assert len(world.failed) == 1
    assert world.queue.waiting == 1


def test_with_notice_who_works_finishes_and_who_does_not_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.notice(A, 30)
    assert world.staff.done == []
    assert world.turnover.is_leaving(world.staff.workers[0])
    assert [world.turnover.may_come(one) for one in world.staff.workers] == [False, True]
    world.staff.workers[0].shards.clear()
    world.queue.done("s1")
    world.turnover.look(now=True)
    assert world.staff.done == [("let_go", "w1"), ("close", "a")]
    assert world.failed == []
    assert B in world.staff.servers


def test_what_cannot_be_finished_in_time_is_given_back_and_is_next(tmp_path: Path) -> None:
    world = World(tmp_path, waiting=3)
    world.notice(A, 5)
    assert world.staff.done == [("end", "w1"), ("close", "a")]
    assert world.failed == [("s1", "its node leaves")]
    assert world.queue.take() == "s1"
    assert world.queue.given_up == {}


def test_a_shard_that_is_worked_alone_leaves_a_node_that_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.queue.died("s1")
    world.queue.take()
    assert world.queue.died("s1")
    world.ward.admit("s1", 4)
    patient = world.ward.at(A)
    assert patient is not None
    patient.busy = True
    world.alive[A] = False
    world.turnover.look(now=True)
    assert world.ward.empty
    assert world.queue.take() == "s1"
    # It stays suspect: the next death isolates it again.
    assert world.queue.died("s1")


def test_workers_are_worth_their_nodes_or_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.turnover.fit()
    assert world.staff.done == []
    world.staff.workers[0].shards.clear()
    world.queue.done("s1")
    world.turnover.fit()
    assert world.staff.done == [("let_go", "w1")]
    # A shard comes back: it is worth a worker again.
    world.queue.failed("s2", "memory")
    world.staff.workers[0].shards.clear()
    world.staff.let_go(world.staff.workers[0])
    world.turnover.fit()
    assert world.staff.done[-1] == ("hire", "")


def test_without_a_place_for_anybody_a_job_ends_and_says_what_it_needs(tmp_path: Path) -> None:
    world = World(tmp_path, node_wait_seconds=0.05, worker_resources={"GPU": 1})
    world.turnover.check_placed()
    for hired in world.staff.workers:
        hired.node = ""
    world.turnover.check_placed()
    time.sleep(0.1)
    with pytest.raises(ServerUnavailable, match=r"'GPU': 1.*PLATEMILL_NODE_WAIT_SECONDS"):
        world.turnover.check_placed()
