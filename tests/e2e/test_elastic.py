"""Nodes that come, go and are lost, with Ray's own autoscaler and a real Triton on each.

The networks are fake ones that take their time, and a resource of a name of its own stands in the
GPU's place; autoscaler, scheduling, draining, workers, servers and the lake are the real ones.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from elastic_cluster import POD, SLOT, ElasticCluster
from fake_models import plates_in, write_fake_models
from planned_night import RUN, plan_all, recognise, rows_of

from platemill.errors import ServerUnavailable
from platemill.journal import read_journal
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
DAYS, PER_DAY, SHARD = 2, 64, 8
SECONDS = 0.2
NODES = 2
NOTICE = 30.0

_ONLY_THE_FIRST = """

def _initialize(self, args):
    import os
    own = os.environ["{pod}"]
    try:
        with open("{marker}", "x") as file:
            file.write(own)
    except FileExistsError:
        with open("{marker}") as file:
            if file.read() != own:
                raise RuntimeError("this node is no good")


TritonPythonModel.initialize = _initialize
"""
"""A model that can be started on one node alone: the one that comes first."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticCluster]:
    folder = tmp_path_factory.mktemp("elastic")
    with ElasticCluster(folder, NODES, idle_seconds=3.0, cwd=PROJECT) as elastic:
        yield elastic
        keeper = psutil.Process(elastic.keeper_pid)
        left = keeper.children(recursive=True)
    assert [process for process in left if process.is_running()] == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of small photos, and models that read the plates off the first pixel, slowly."""
    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(7)
    for number in range(DAYS * PER_DAY):
        place = folder / "archive" / "cam" / "2026" / "05" / f"{1 + number // PER_DAY:02d}"
        place.mkdir(parents=True, exist_ok=True)
        image = random.integers(0, 200, (24, 32, 3), dtype=np.uint8)
        assert cv2.imwrite(str(place / f"{number:06d}.png"), image)
    write_fake_models(folder / "models", seconds=SECONDS)
    return folder


def prepared(home: Path, world: Path, **given: Any) -> tuple[Settings, Plan]:
    usual = {"workers": NODES, "worker_resources": {SLOT: 1}, "triton_models": world / "models"}
    asked: dict[str, Any] = {**usual, **given}
    settings = load_settings(
        home=home,
        project=PROJECT,
        shard_images=SHARD,
        images_in_flight=2,
        **asked,
    )
    return settings, plan_all(settings, world / "archive")


def events(settings: Settings, name: str) -> list[dict[str, Any]]:
    return [e for e in read_journal(settings.runs / RUN) if e["event"] == name]


def at(event: dict[str, Any]) -> float:
    return dt.datetime.fromisoformat(event["at"]).timestamp()


def wait_until(what: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def check(settings: Settings, plan: Plan) -> None:
    """Every photo has one row, and the plates that its first pixel says: the same on any nodes."""
    images, recognitions = rows_of(settings, plan)
    assert sorted(str(row["uri"]) for row in images) == sorted(plan.table["uri"].to_pylist())
    ids = {str(row["uri"]): str(row["image_id"]) for row in images}
    expected = []
    for uri, image_id in ids.items():
        blue, green = (int(value) for value in cv2.imread(uri.removeprefix("file://"))[0, 0, :2])
        for number, plate in enumerate(plates_in(blue, green)):
            box = (number, number, number + 8, number + 4)
            expected.append((image_id, number, plate, 0.5 + green / 1024, *box))
    names = ("image_id", "plate_index", "plate", "confidence", "xmin", "ymin", "xmax", "ymax")
    found = [tuple(row[name] for name in names) for row in recognitions]
    assert sorted(found) == sorted(expected)
    assert {row["attempts"] for row in images} == {1}
    assert {row["status"] for row in images} == {"recognised", "no_plate"}


def test_nodes_come_for_waiting_shards_and_go_when_none_waits(
    cluster: ElasticCluster, world: Path, tmp_path: Path
) -> None:
    settings, plan = prepared(tmp_path / "home", world)
    assert cluster.pods() == []
    seen: list[int] = []
    log = recognise(cluster, settings, lambda _: seen.append(len(cluster.pods())))
    check(settings, plan)
    assert max(seen) == NODES, log
    nodes = {event["node"]: event for event in events(settings, "node_up")}
    assert len(nodes) == 1 + NODES
    shards = events(settings, "shard")
    # The head has no slot: it only leads. Each other node did some of the work.
    busy = {event["node"] for event in shards}
    assert len(busy) == NODES
    assert busy < set(nodes)
    assert len({event["key"] for event in shards}) == len(shards) == len(plan.shards)
    wait_until(lambda: cluster.pods() == [])


def test_a_node_that_is_lost_costs_its_shards_another_run_and_nothing_else(
    cluster: ElasticCluster, world: Path, tmp_path: Path
) -> None:
    settings, plan = prepared(tmp_path / "home", world)
    killed: list[psutil.Process] = []

    def kill_one(progress: JobProgress) -> None:
        if not killed and progress.shards_done >= 2:
            node = cluster.pods()[0]
            killed.extend(cluster.kill(node))

    log = recognise(cluster, settings, kill_one)
    assert len(killed) > 5
    assert "is gone with 1 workers and" in log
    assert "death 1 in a row" not in log
    assert "is worked alone" not in log
    check(settings, plan)
    lost = events(settings, "shard_failed")
    assert 1 <= len(lost) <= 2
    again = {event["key"]: event for event in events(settings, "shard")}
    assert all(again[event["key"]]["attempt"] == 2 for event in lost)
    assert {event["node"] for event in events(settings, "worker_lost")} == {
        event["node"] for event in events(settings, "server_lost")
    }
    assert [p for p in killed if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    wait_until(lambda: cluster.pods() == [])


def test_a_node_with_notice_finishes_its_shards_and_is_gone_in_time(
    cluster: ElasticCluster, world: Path, tmp_path: Path
) -> None:
    settings, plan = prepared(tmp_path / "home", world)
    told: list[tuple[str, float]] = []
    gone: list[float] = []

    def give_notice(progress: JobProgress) -> None:
        if not told and progress.shards_done >= 2:
            node = cluster.pods()[0]
            cluster.preempt(node)
            told.append((node, time.time()))
        elif told and not gone and told[0][0] not in cluster.pods():
            gone.append(time.time())

    log = recognise(cluster, settings, give_notice)
    check(settings, plan)
    (node, when) = told[0]
    name = node[:12]
    assert f"node {name} leaves in" in log
    assert f"nobody works on node {name} any more" in log
    assert gone, "the node was still there when the job ended"
    assert gone[0] - when < NOTICE + 5, log
    # Both shards that it had were finished there, by their first attempt, and nothing died.
    shards = events(settings, "shard")
    assert [event for event in shards if event["node"] == name and at(event) > when] != []
    assert {event["attempt"] for event in shards} == {1}
    for nothing in ("shard_failed", "worker_lost", "server_lost"):
        assert events(settings, nothing) == []
    assert len({event["key"] for event in shards}) == len(shards) == len(plan.shards)
    wait_until(lambda: cluster.pods() == [])


def test_a_node_whose_triton_does_not_start_is_left_alone(
    cluster: ElasticCluster, world: Path, tmp_path: Path
) -> None:
    models = write_fake_models(tmp_path / "models", seconds=SECONDS / 2)
    code = models / "plate_recognition" / "1" / "model.py"
    marker = tmp_path / "the-good-node"
    code.write_text(code.read_text() + _ONLY_THE_FIRST.format(marker=str(marker), pod=POD))
    settings, plan = prepared(tmp_path / "home", world, triton_models=models)
    log = recognise(cluster, settings)
    check(settings, plan)
    good = marker.read_text()[:12]
    assert {event["node"] for event in events(settings, "shard")} == {good}
    (bad,) = {event["node"] for event in events(settings, "server_lost")}
    assert bad != good
    assert f"node {bad} is not used, for its Triton fails" in log
    assert "death 1 in a row" not in log
    wait_until(lambda: cluster.pods() == [])


def test_a_job_that_gets_no_node_says_what_it_waited_for(
    cluster: ElasticCluster, world: Path, tmp_path: Path
) -> None:
    settings, _ = prepared(
        tmp_path / "home", world, worker_resources={SLOT: 2}, node_wait_seconds=4
    )
    with pytest.raises(ServerUnavailable, match=r"no node has had room .*mill_slot.*NODE_WAIT"):
        recognise(cluster, settings)
    assert cluster.pods() == []
