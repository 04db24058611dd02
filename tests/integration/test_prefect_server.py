"""Deployments on a real Prefect server: scheduled, run by a real worker, read through its API.

The server, the worker, the deployments of ``prefect.yaml``, Ray and the stages are real. The model
is a small server that speaks Triton's protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np
import psutil
import pytest
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Completed, Pending, Running
from small_server import SmallServer

from flows.alerts import install
from flows.schedule import bury
from platemill.launch.prefect_server import PrefectServer
from platemill.settings import QUIET_ENVIRONMENT, load_settings
from platemill.warehouse.query import run_sql

pytestmark = pytest.mark.timeout(600)

PROJECT = Path(__file__).parents[2]
IMAGES, DAYS = 8, 2
IMAGE = "registry.example/platemill:7"
WAIT = 240.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def photos(folder: Path, days: int = DAYS) -> Path:
    """Small images whose first pixels say their plates, some a day."""
    random = np.random.default_rng(7)
    for day in range(1, days + 1):
        place = folder / "cam" / "2026" / "05" / f"{day:02d}"
        place.mkdir(parents=True)
        for number in range(IMAGES // DAYS):
            pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            assert cv2.imwrite(str(place / f"{number:06d}.png"), pixels)
    return folder


class World:
    """A server with the project's deployments, and what a worker of it needs."""

    def __init__(
        self,
        server: PrefectServer,
        client: SyncPrefectClient,
        folder: Path,
        model: SmallServer,
    ) -> None:
        self.client = client
        self.home, self.archive = folder / "home", photos(folder / "photos")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PLATEMILL_")},
            **QUIET_ENVIRONMENT,
            **server.environment,
            "PYTHONPATH": f"{PROJECT / 'src'}",
            "PLATEMILL_TRITON_ADDRESS": model.address,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }

    def prefect(self, *arguments: str, **more: str) -> str:
        """Run a command of Prefect in the checkout; returns what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=PROJECT,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployment(self, name: str) -> Any:
        return self.client.read_deployment_by_name(name)

    def start(self, name: str, **parameters: object) -> FlowRun:
        """Ask for a run now."""
        found = self.deployment(name)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def wait(self, run: UUID, *states: str) -> FlowRun:
        """Wait until a run is in one of the states."""
        for _ in every(0.3, WAIT):
            found = self.client.read_flow_run(run)
            if found.state is not None and found.state.name in states:
                return found
        raise AssertionError(f"{found.state}\n{self.logs(run)}")

    def logs(self, run: UUID) -> str:
        chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        # Logs are sent in batches.
        return "\n".join(log.message for log in self.client.read_logs(chosen))

    def artifacts(self, run: UUID) -> dict[str, Any]:
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return {a.key: a for a in self.client.read_artifacts(artifact_filter=chosen)}

    def runs(self, deployment: UUID, since: dt.datetime) -> list[FlowRun]:
        """Runs of a deployment that were due since then, in order."""
        between = FlowRunFilterExpectedStartTime(after_=since, before_=dt.datetime.now(dt.UTC))
        found = self.client.read_flow_runs(
            flow_run_filter=FlowRunFilter(expected_start_time=between),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        )
        return sorted(found, key=lambda run: run.expected_start_time or since)

    @contextmanager
    def worker(self, pool: str = "process") -> Iterator[None]:
        """A real worker of a pool, while the block lasts."""
        with (self.home.parent / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool],
                cwd=PROJECT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(60)


def every(seconds: float, limit: float) -> Iterator[float]:
    """Seconds gone by, now and then, until the limit."""
    start = time.monotonic()
    while (gone := time.monotonic() - start) < limit:
        yield gone
        time.sleep(seconds)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("prefect")
    quick = {
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    }
    with (
        PrefectServer(folder / "server", free_port(), variables=quick) as server,
        SmallServer() as model,
        SyncPrefectClient(f"{server.url}/api") as client,
    ):
        made = World(server, client, folder, model)
        made.prefect("work-pool", "create", "process", "--type", "process")
        template = "infra/prefect/kubernetes-pool.json"
        made.prefect(
            *("work-pool", "create", "kubernetes", "--type", "kubernetes"),
            *("--base-job-template", template),
        )
        given = {"PLATEMILL_HOME": str(made.home), "ARCHIVE": str(made.archive), "IMAGE": IMAGE}
        made.prefect("deploy", "--all", **given)
        # No night begins by the clock while the tests begin theirs.
        for name in ("nightly/process", "nightly/kubernetes"):
            [schedule] = made.deployment(name).schedules
            made.client.update_deployment_schedule(
                made.deployment(name).id, schedule.id, active=False
            )
        yield made


FLOWS = ("nightly", "backfill", "vacuum")


@pytest.mark.parametrize("flow", FLOWS)
def test_each_flow_is_deployed_to_processes_and_to_kubernetes(world: World, flow: str) -> None:
    here, there = world.deployment(f"{flow}/process"), world.deployment(f"{flow}/kubernetes")
    assert (here.work_pool_name, there.work_pool_name) == ("process", "kubernetes")
    assert here.parameters == there.parameters
    assert here.parameters["home"] == str(world.home)
    assert here.entrypoint == there.entrypoint == f"flows/{flow}.py:{flow}"
    for found in (here, there):
        assert found.global_concurrency_limit.limit == 1
        strategy = "ENQUEUE" if flow == "backfill" else "CANCEL_NEW"
        assert found.concurrency_options.collision_strategy == strategy
        assert found.job_variables["env"].items() >= QUIET_ENVIRONMENT.items()
        assert found.tags == ["platemill"]
    step = "prefect.deployments.steps.set_working_directory"
    assert here.pull_steps == [{step: {"directory": str(PROJECT)}}]
    assert there.pull_steps == [{step: {"directory": "/opt/platemill"}}]
    assert there.job_variables["image"] == IMAGE
    assert there.job_variables["secret_name"] == "platemill"


def test_nights_and_vacuums_have_a_schedule_and_backfills_have_none(world: World) -> None:
    crons = {
        flow: [s.schedule.cron for s in world.deployment(f"{flow}/process").schedules]
        for flow in FLOWS
    }
    assert crons == {"nightly": ["0 2 * * *"], "backfill": [], "vacuum": ["0 12 * * 0"]}


@pytest.mark.ray
def test_a_worker_runs_a_night_and_no_second_one_beside_it(world: World) -> None:
    with world.worker():
        first = world.start("nightly/process")
        world.wait(first.id, "Running")
        second = world.wait(world.start("nightly/process").id, "Cancelled", "Running")
        assert second.state is not None
        assert second.state.name == "Cancelled"
        assert second.state.message == "Deployment concurrency limit reached."
        assert second.run_count == 0
        done = world.wait(first.id, "Completed", "Failed", "Crashed")
        assert done.state is not None
        assert done.state.name == "Completed", world.logs(first.id)
        # Whoever comes after finds the place free, and nothing to do.
        third = world.wait(world.start("nightly/process").id, "Completed", "Failed", "Cancelled")
        assert third.state is not None
        assert third.state.name == "Completed"
        third_log = wait_for(lambda: world.logs(third.id), f"{IMAGES} images seen, 0 new")
        assert "generation" not in third_log
        days = {"start": "2026-05-01", "end": "2026-05-02"}
        past = world.wait(world.start("backfill/process", **days).id, "Completed", "Failed")
        assert past.state is not None
        assert past.state.name == "Completed", world.logs(past.id)
        old = world.wait(world.start("vacuum/process", dry_run=True).id, "Completed", "Failed")
        assert old.state is not None
        assert old.state.name == "Completed", world.logs(old.id)
    rows = run_sql(load_settings(home=world.home), "SELECT count(*) FROM images").to_pylist()
    assert rows == [{"count_star()": IMAGES}]
    wait_for(lambda: world.logs(first.id), "generation 1 is published")
    night = world.artifacts(first.id)
    assert f"| images new | {IMAGES} |" in night["night"].data
    assert {row["result"] for row in json.loads(night["checks"].data)} <= {"ok", "warning"}
    tasks = world.client.read_task_runs(
        task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[first.id]))
    )
    states = {task.name.rsplit("-", 1)[0]: task.state_name for task in tasks}
    assert (
        states.items()
        >= dict.fromkeys(("inventory", "recognise", "facts", "publish"), "Completed").items()
    )
    assert "vacuum" in world.artifacts(old.id)


def wait_for(look: Callable[[], str], text: str) -> str:
    """Look until the text is there; returns what was seen."""
    for _ in every(0.5, WAIT):
        if text in (seen := look()):
            return seen
    raise AssertionError(f"{text!r} is not in: {seen}")


def test_of_the_nights_that_were_missed_one_is_made_up_for(world: World) -> None:
    nightly = world.deployment("nightly/process")
    since = dt.datetime.now(dt.UTC)
    # The machine that has the worker sleeps: nobody takes what is due.
    soon = IntervalSchedule(interval=dt.timedelta(seconds=2), anchor_date=since)
    wanted = DeploymentScheduleCreate(schedule=soon, active=True)
    made = world.client.create_deployment_schedules(nightly.id, [(wanted.schedule, True)])
    for _ in every(0.5, WAIT):
        late = [run for run in world.runs(nightly.id, since) if run.state_name == "Late"]
        if len(late) >= 5:
            break
    world.client.update_deployment_schedule(nightly.id, made[0].id, active=False)
    missed = [run.id for run in world.runs(nightly.id, since)]
    assert len(missed) >= 5
    # It wakes.
    with world.worker():
        ends = [
            world.wait(run, "Completed", "Cancelled", "Failed", "Crashed").state for run in missed
        ]
    world.client.delete_deployment_schedule(nightly.id, made[0].id)
    assert [end.name for end in ends if end is not None].count("Completed") == 1
    said = {end.message for end in ends if end is not None and end.name == "Cancelled"}
    assert all(
        text == "Deployment concurrency limit reached." or "makes up for it." in str(text)
        for text in said
    )
    assert len(ends) - 1 == len([end for end in ends if end is not None and end.is_cancelled()])


class Receiver(HTTPServer):
    """What is posted to it, as JSON."""

    def __init__(self) -> None:
        self.posted: queue.Queue[Any] = queue.Queue()
        received = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_why: object) -> None:
        self.shutdown()
        self.server_close()


def test_that_no_night_comes_after_one_calls_the_webhook(world: World) -> None:
    async def alert(url: str, hours: float) -> None:
        async with PrefectClient(str(world.client.api_url)) as client:
            await install(client, url, hours)

    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.server_port}/hook"
        asyncio.run(alert(url, 10 / 3600))
        try:
            last = world.start("nightly/kubernetes")  # no worker takes it
            for state in (Pending(), Running(), Completed()):
                world.client.set_flow_run_state(last.id, state)
            said = ""
            while "no night was finished" not in said:
                said = receiver.posted.get(timeout=60)["text"]
        finally:
            asyncio.run(alert(url, 26))
    assert said == "platemill: no night was finished within 0.00277778 hours"


def test_a_night_that_fails_calls_the_webhook(world: World) -> None:
    with Receiver() as receiver, world.worker():
        url = f"http://127.0.0.1:{receiver.server_port}/hook"
        for _ in range(2):  # a second time brings them up to date
            done = subprocess.run(
                [sys.executable, "-m", "flows.alerts", "--webhook", url],
                cwd=PROJECT,
                env=world.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert len(done.stdout.splitlines()) == 4
        names = [found["name"] for found in automations(world)]
        assert sorted(names) == sorted(done.stdout.splitlines())
        failed = world.start("nightly/process", archives=["/no/such/archive"])
        ended = world.wait(failed.id, "Failed", "Completed", "Crashed")
        assert ended.state is not None
        assert ended.state.name == "Failed"
        alert = receiver.posted.get(timeout=60)["text"]
    assert alert.startswith(f"nightly {ended.name}: Failed. ")
    assert "the archive /no/such/archive does not exist" in alert
    assert alert.endswith(f"/runs/flow-run/{ended.id}")


def automations(world: World) -> list[dict[str, Any]]:
    response = world.client.request("POST", "/automations/filter", json={})
    found: list[dict[str, Any]] = response.json()
    return found


def test_a_night_whose_schedule_was_killed_gives_its_place_back(world: World) -> None:
    name = "nightly/kubernetes"  # no worker takes it
    run = world.start(name)
    for state in (Pending(), Running()):
        world.client.set_flow_run_state(run.id, state)
    refused = world.start(name)
    said = world.client.set_flow_run_state(refused.id, Pending())
    assert said.state is not None
    assert said.state.name == "Cancelled"

    async def bury_it() -> None:
        async with PrefectClient(str(world.client.api_url)) as client:
            await bury(client, name)

    asyncio.run(bury_it())
    gone = world.wait(run.id, "Crashed")
    assert gone.state is not None
    assert "was killed; what it did is kept" in str(gone.state.message)
    after = world.client.set_flow_run_state(world.start(name).id, Pending())
    assert after.state is not None
    assert after.state.name == "Pending"


class Schedule:
    """``platemill schedule`` in a process of its own."""

    def __init__(
        self, home: Path, archive: Path, environment: Mapping[str, str], *more: str
    ) -> None:
        command = [sys.executable, "-m", "platemill", "schedule", "--home", str(home)]
        self.mark = f"schedule-{home.parent.name}-{os.getpid()}"
        self.process = subprocess.Popen(
            [*command, "--archive", str(archive), "--cron", "* * * * *", *more],
            env={**environment, "SCHEDULE_UNDER_TEST": self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def wait_for(self, text: str) -> None:
        wait_for(lambda: "".join(self.said), text)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)

    def processes(self) -> list[str]:
        """What runs with its mark in the environment."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (place / "environ").read_bytes():
                    found.append((place / "cmdline").read_text().replace("\0", " "))
        return found

    def __enter__(self) -> Schedule:
        return self

    def __exit__(self, *_why: object) -> None:
        if self.process.poll() is None:
            self.end()
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        print("".join(self.said))


def test_a_schedule_survives_a_night_that_fails(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "photos"
    archive.mkdir()
    more = ("--name", "mine", "--once-now")
    with Schedule(tmp_path / "home", archive, world.environment, *more) as schedule:
        wait_for(lambda: str((tmp_path / "home" / "schedule" / "service.json").exists()), "True")
        archive.rmdir()
        schedule.wait_for("Failed: Flow run encountered an exception: ArchiveError: the archive")
        archive.mkdir()
        schedule.wait_for("UTC: Completed")
        served = world.deployment("nightly/mine")
        assert served.parameters["archives"] == [str(archive)]
        assert not served.paused
        assert schedule.end() == 0
        assert schedule.processes() == []
    # On a server that others use, no run is made while nobody serves.
    assert world.deployment("nightly/mine").paused


@pytest.mark.ray
def test_a_schedule_that_ends_or_is_killed_leaves_nothing(world: World, tmp_path: Path) -> None:
    environment = {k: v for k, v in world.environment.items() if not k.startswith("PREFECT_API")}
    shared = set(Path("/dev/shm").iterdir())
    archive, home = photos(tmp_path / "photos", 1), tmp_path / "home"
    more = ("--port", str(free_port()), "--once-now")
    with SmallServer(seconds=120) as slow:
        environment["PLATEMILL_TRITON_ADDRESS"] = slow.address
        with Schedule(home, archive, environment, *more) as schedule:
            schedule.wait_for("images seen, 4 new")
            # The two that could end the others, at once.
            runner = psutil.Process(schedule.process.pid).children()
            assert len(runner) == 1
            runner[0].kill()
            assert schedule.end(signal.SIGKILL) == -signal.SIGKILL
            wait_for(lambda: str(schedule.processes()), "[]")
        with Schedule(home, archive, environment, *more) as schedule:
            schedule.wait_for("was killed with the process that served it")
            schedule.wait_for("recognise: 0 plates")
            assert len(schedule.processes()) > 5
            # The cron fires, or somebody asks, while that night still runs.
            with SyncPrefectClient(f"http://127.0.0.1:{more[1]}/api") as client:
                found = client.read_deployment_by_name("nightly/schedule")
                refused = client.create_flow_run_from_deployment(found.id)
            told = wait_for(
                lambda: "".join(line for line in schedule.said if str(refused.name) in line),
                "The night before still runs; what is new is found by the next one",
            )
            assert "it did not begin: Deployment concurrency limit reached." in told
            assert schedule.end() == 0
            assert schedule.processes() == []
    assert {p for p in Path("/dev/shm").iterdir() if "ray" in p.name} <= shared
    database = home / "schedule" / "prefect" / "prefect.db"
    with contextlib.closing(sqlite3.connect(database)) as prefect:
        runs = "SELECT state_name FROM flow_run WHERE NOT auto_scheduled ORDER BY created"
        assert prefect.execute(runs).fetchall() == [("Crashed",), ("Cancelled",), ("Cancelled",)]
