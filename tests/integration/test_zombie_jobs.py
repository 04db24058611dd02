"""The job of a flow that was killed ends itself, and the next run goes on from what it recorded.

The cluster stays, as one that is given by its address does: so nothing but the job itself ends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from planned_night import RUN, plan_all
from ray.job_submission import JobSubmissionClient
from small_server import SmallServer

from platemill.errors import FlowLost
from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.recognition import recognition_job
from platemill.launch.records import read_exit
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

pytestmark = pytest.mark.ray

PROJECT = Path(__file__).parents[2]
IMAGES = 24

# Leads a run as a flow does: with its heartbeat, and a job that it follows.
FLOW = """
import sys
from pathlib import Path
from planned_night import RUN
from platemill.launch.clusters.address import AddressCluster
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.recognition import recognition_job
from platemill.settings import load_settings

settings = load_settings()
with Heartbeat(settings.runs / RUN, settings.lease_seconds):
    AddressCluster(sys.argv[1]).run(recognition_job(settings, RUN))
"""


@pytest.fixture
def server() -> Iterator[SmallServer]:
    """One that leaves the time to kill somebody."""
    with SmallServer(seconds=0.3) as small:
        yield small


@pytest.fixture
def planned(tmp_path: Path, server: SmallServer) -> tuple[Settings, Plan]:
    random = np.random.default_rng(5)
    place = tmp_path / "photos" / "cam" / "2026" / "05" / "01"
    place.mkdir(parents=True)
    for number in range(IMAGES):
        image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        assert cv2.imwrite(str(place / f"{number:06d}.png"), image)
    settings = load_settings(
        home=tmp_path / "home",
        project=PROJECT,
        shard_images=4,
        images_in_flight=1,
        triton_address=server.address,
    )
    return settings, plan_all(settings, tmp_path / "photos")


def wait_until(limit: float, what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def recorded(settings: Settings, plan: Plan) -> set[str]:
    found = open_lake(settings).shards(shard.key for shard in plan.shards)
    return {key for key, record in found.items() if record is not None}


def test_the_job_of_a_killed_flow_ends_itself_and_the_next_run_goes_on(
    cluster: PrivateCluster, planned: tuple[Settings, Plan]
) -> None:
    settings, plan = planned
    folder = settings.runs / RUN
    environment = {**os.environ, **cluster.environment, **settings.environment()}
    support = os.pathsep.join([settings.python_path, str(PROJECT / "tests" / "support")])
    flow = subprocess.Popen(
        [sys.executable, "-c", FLOW, cluster.jobs_address],
        cwd=PROJECT,
        env={**environment, "PYTHONPATH": support},
    )
    try:
        wait_until(120, "the job records nothing", lambda: recorded(settings, plan))
        assert len(recorded(settings, plan)) < len(plan.shards)
    finally:
        flow.kill()
        flow.wait()

    client = JobSubmissionClient(
        cluster.jobs_address,
        headers={"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"},
    )
    job = recognition_job(settings, RUN)
    wait_until(60, "the zombie works on", lambda: client.get_job_status(job.name).is_terminal())
    was_recorded, error = read_exit(folder)
    assert was_recorded
    assert isinstance(error, FlowLost)
    assert "was killed; its job ends itself" in str(error)
    kept = recorded(settings, plan)
    assert 0 < len(kept) < len(plan.shards)

    before = {key: open_lake(settings).shard(key) for key in kept}
    with Heartbeat(folder, settings.lease_seconds):
        cluster.run(job)
    assert recorded(settings, plan) == {shard.key for shard in plan.shards}
    assert {key: open_lake(settings).shard(key) for key in kept} == before
