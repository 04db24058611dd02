"""A private cluster keeps to loopback, wants its token, and leaves nothing behind."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platemill.launch.clusters.private import PrivateCluster

pytestmark = pytest.mark.ray

PROJECT = Path(__file__).parents[2]
END_SECONDS = 30


def family(cluster: PrivateCluster) -> list[psutil.Process]:
    assert cluster.keeper_pid is not None
    keeper = psutil.Process(cluster.keeper_pid)
    return [keeper, *keeper.children(recursive=True)]


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until_none_is_left(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while remaining := left(processes):
        assert time.monotonic() < deadline, f"still there: {remaining}"
        time.sleep(0.1)


def shared_memory() -> set[str]:
    # Triton servers of other tests may come and go meanwhile; these clusters have none.
    names = (path.name for path in Path("/dev/shm").iterdir())
    return {name for name in names if not name.startswith("platemill-triton-")}


def status_of(cluster: PrivateCluster, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(cluster.jobs_address.removeprefix("http://"))
    try:
        connection.request("GET", "/api/jobs/", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def listening(cluster: PrivateCluster) -> set[tuple[str, str]]:
    found = set()
    for process in family(cluster):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in process.net_connections():
                if connection.status == psutil.CONN_LISTEN:
                    ip = connection.laddr.ip.removeprefix("::ffff:")
                    found.add((process.name(), ip))
    return found


def test_every_address_is_on_loopback(cluster: PrivateCluster) -> None:
    # The Jobs API answers some seconds before the node's own processes listen.
    wanted = {"gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    deadline = time.monotonic() + END_SECONDS
    while True:
        found = listening(cluster)
        if wanted <= {name for name, _ in found}:
            break
        assert time.monotonic() < deadline, f"only {found} listen"
        time.sleep(0.2)
    assert {ip for _, ip in found} == {"127.0.0.1"}


def test_the_jobs_api_wants_the_token(cluster: PrivateCluster) -> None:
    token = cluster.environment["RAY_AUTH_TOKEN"]
    assert status_of(cluster, {"Authorization": f"Bearer {token}"}) == 200
    assert status_of(cluster, {}) in {401, 403}
    assert status_of(cluster, {"Authorization": f"Bearer {'0' * len(token)}"}) in {401, 403}


# Starts a cluster and a job that would run for long, says who they are, and waits to be killed.
PARENT = """
import json, subprocess, sys, time
from pathlib import Path
import psutil
from platemill.launch.clusters.private import PrivateCluster

cluster = PrivateCluster(Path(sys.argv[1]), 180)
cluster.start()
from ray.job_submission import JobSubmissionClient
token = cluster.environment["RAY_AUTH_TOKEN"]
client = JobSubmissionClient(cluster.jobs_address, headers={"Authorization": "Bearer " + token})
keeper = psutil.Process(cluster.keeper_pid)
if sys.argv[2] == "parent":
    client.submit_job(entrypoint="exec sleep 4711", submission_id="long")
    while not any("4711" in p.cmdline() for p in keeper.children(recursive=True)):
        time.sleep(0.1)
pids = [keeper.pid, *(p.pid for p in keeper.children(recursive=True))]
print(json.dumps({"pids": pids, "folder": str(cluster._folder)}), flush=True)
if sys.argv[2] == "keeper":
    keeper.kill()
    cluster.stop()
else:
    time.sleep(1000)
"""


@pytest.mark.parametrize("killed", ["parent", "keeper"])
def test_nothing_is_left_after_sigkill(
    cluster: PrivateCluster, tmp_path: Path, killed: str
) -> None:
    before = shared_memory()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), killed],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
    )
    try:
        assert parent.stdout is not None
        told = json.loads(parent.stdout.readline())
        members = []
        for pid in told["pids"]:
            try:
                members.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
        if killed == "parent":
            assert len(members) > 5
            os.kill(parent.pid, signal.SIGKILL)
        parent.wait(60)
        wait_until_none_is_left(members)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
    deadline = time.monotonic() + END_SECONDS
    while Path(told["folder"]).exists():
        assert time.monotonic() < deadline, "the cluster's folder is still there"
        time.sleep(0.1)
    assert shared_memory() - before == set()
    assert (tmp_path / "ray" / "start.log").exists(), "the logs are kept"
    assert status_of(cluster, {}) in {401, 403}, "the other cluster still answers"
