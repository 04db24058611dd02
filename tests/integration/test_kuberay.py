"""A night's RayJob against a fake of the Kubernetes API that keeps the RayJob's states.

The `kubernetes` client is the real one, over real HTTP. The last test submits the job to real Ray.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from fake_kubernetes import NAMESPACE, Attempt, FakeKubernetes
from kubernetes.config import kube_config
from planned_night import RUN, plan_all, rows_of
from small_server import SmallServer

from platemill.errors import (
    CheckFailed,
    ConfigurationError,
    LeaseLost,
    RetryableError,
    ServerUnavailable,
    ShardsIncomplete,
)
from platemill.launch.clusters import kuberay, open_cluster
from platemill.launch.clusters.kuberay import KubeRayCluster
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.clusters.rayjob import RUN as RUN_ANNOTATION
from platemill.launch.clusters.rayjob import make_rayjob
from platemill.launch.recognition import recognition_job, run_recognition
from platemill.launch.records import JobProgress, write_exit, write_progress
from platemill.settings import Settings

PROJECT = Path(__file__).parents[2]
NAME = "platemill-20260501t000000-abcdef"
ASKED = f"GET /apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs/{NAME}"
IMAGES = 40
TEMPLATE = PROJECT / "infra" / "kubernetes" / "base" / "rayjob.yaml"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", kuberay_template="platemill-night", kuberay_namespace=NAMESPACE
    )


EXPIRED = "have expired. Renew them .* and run again: what was recognised is kept"


@pytest.fixture
def folder(settings: Settings) -> Path:
    place = settings.runs / RUN
    place.mkdir(parents=True)
    return place


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start a fake that KUBECONFIG leads to, with the template applied."""
    running: list[FakeKubernetes] = []

    def start(*fates: Attempt, **given: Any) -> FakeKubernetes:
        fake = FakeKubernetes(list(fates), **given)
        running.append(fake.__enter__())
        config = fake.kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
        fake.put(yaml.safe_load(TEMPLATE.read_text()))
        return fake

    yield start
    for fake in running:
        fake.__exit__()


def run(
    settings: Settings, on_progress: Callable[[JobProgress], None] | None = None, run_id: str = RUN
) -> None:
    with KubeRayCluster(settings, run_id, ask_seconds=0.05) as cluster:
        cluster.run(recognition_job(settings, run_id), on_progress)


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(30)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_the_settings_choose_the_way(settings: Settings, tmp_path: Path) -> None:
    assert isinstance(open_cluster(settings, RUN), KubeRayCluster)
    assert isinstance(open_cluster(Settings(home=tmp_path), RUN), PrivateCluster)
    both = settings.model_copy(update={"ray_address": "http://127.0.0.1:8265"})
    with pytest.raises(ConfigurationError, match="two clusters"):
        open_cluster(both, RUN)


def test_a_job_is_created_followed_and_deleted(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("succeed", lines=["first", "second", "third"]))
    write_progress(folder, JobProgress(shards_done=9))
    run(settings)
    (created,) = fake.created
    assert created["metadata"]["name"] == NAME
    assert created["spec"]["entrypoint"].endswith(f"--run-id {RUN}")
    assert (folder / "recognize.log").read_text() == "first\nsecond\nthird\n"
    assert fake.state(NAME) == "gone"
    assert fake.state("platemill-night") == "", "the template stays, and nothing of it runs"
    assert not fake.pods


def test_progress_is_told_while_it_runs(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("hang"))
    told: list[JobProgress] = []

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        write_progress(folder, JobProgress(images_done=1, images_total=2))
        until(lambda: bool(told))
        write_exit(folder, None)
        fake.say(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    with meanwhile(work):
        run(settings, told.append)
    assert told == [JobProgress(images_done=1, images_total=2)]


def test_a_failed_job_ends_with_the_error_that_it_recorded(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("fail"), Attempt("fail"), Attempt("fail", lines=["no room left"]))

    def work() -> None:
        until(lambda: len(fake.fates) == 0)
        write_exit(folder, ShardsIncomplete("3 of 5 shards have no record"))

    with (
        meanwhile(work),
        pytest.raises(ShardsIncomplete, match="3 of 5 shards"),
    ):
        run(settings)
    assert fake.state(NAME) == "gone"


def test_a_failed_job_without_a_record_shows_its_log(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kuberay, "_FILES_SECONDS", 0.2)
    server(*[Attempt("fail", lines=["ModuleNotFoundError: ray_jobs"])] * 3)
    with pytest.raises(ShardsIncomplete, match="ModuleNotFoundError: ray_jobs"):
        run(settings)
    assert "ModuleNotFoundError: ray_jobs\n" in (folder / "recognize.log").read_text()


def test_kuberay_tries_again_and_the_job_goes_on_with_what_is_left(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("fail", message="head pod lost"), Attempt("succeed", lines=["the rest"]))
    run(settings)
    assert "the rest" in (folder / "recognize.log").read_text()
    assert len(fake.created) == 1


@pytest.mark.parametrize(
    "error", [ConfigurationError("a wrong setting"), CheckFailed("no"), LeaseLost("taken over")]
)
def test_a_final_error_is_not_tried_again_by_kuberay(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path, error: Exception
) -> None:
    fake = server(Attempt("hang"), Attempt("hang"))

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        write_exit(folder, error)

    with meanwhile(work), pytest.raises(type(error), match=str(error)):
        run(settings)
    until(lambda: fake.state(NAME) == "gone")
    assert len(fake.fates) == 1


def test_the_deadline_is_worth_another_run(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    server(Attempt("fail", reason="DeadlineExceeded"))
    with pytest.raises(RetryableError, match="activeDeadlineSeconds"):
        run(settings)


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (Attempt("stop"), RetryableError, "stopped from outside"),
        (
            Attempt("fail", reason="SubmissionFailed", message="backoff limit"),
            ServerUnavailable,
            "SubmissionFailed.*backoff limit",
        ),
    ],
)
def test_other_ends_are_worth_another_run(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    attempt: Attempt,
    error: type[Exception],
    match: str,
) -> None:
    monkeypatch.setattr(kuberay, "_FILES_SECONDS", 0.2)
    server(*[attempt] * 3)
    with pytest.raises(error, match=match):
        run(settings)


def test_a_job_that_somebody_deletes_is_worth_another_run(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("hang"))

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        fake.remove(NAME)

    with meanwhile(work), pytest.raises(RetryableError, match="deleted from outside"):
        run(settings)


def test_a_creation_whose_answer_is_lost_makes_one_job(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("succeed"))
    fake.faults["POST"] = ["lost"]
    run(settings)
    assert len(fake.created) == 1
    assert fake.requests.count(f"POST /apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs") == 2


def test_a_job_that_still_does_this_work_is_followed_not_started_anew(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = server(Attempt("hang"))
    monkeypatch.setattr(kuberay, "_LOST_SECONDS", 0.5)
    monkeypatch.setattr(kuberay, "_STOP_SECONDS", 0.5)

    def lose() -> None:
        until(lambda: fake.state(NAME) == "Running")
        fake.is_down = True

    # The API goes away for longer than one waits; the stage ends, and is tried again later.
    with meanwhile(lose), pytest.raises(ServerUnavailable, match="it is followed on"):
        run(settings)
    fake.is_down = False

    before = fake.requests.count(ASKED)

    def end() -> None:
        until(lambda: fake.requests.count(ASKED) > before + 2)
        fake.say(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    with meanwhile(end):
        run(settings)
    assert len(fake.created) == 1


def test_a_job_that_succeeded_unseen_is_not_done_again(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("succeed"))
    job = recognition_job(settings, RUN)
    fake.put(make_rayjob(yaml.safe_load(TEMPLATE.read_text()), job, settings, "the template"))
    until(lambda: fake.state(NAME) == "Complete")
    run(settings)
    assert not fake.created
    assert fake.state(NAME) == "gone"


def test_a_job_of_other_leases_is_deleted_first(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("hang"), Attempt("succeed"))
    job = recognition_job(settings, RUN)
    old = make_rayjob(yaml.safe_load(TEMPLATE.read_text()), job, settings, "the template")
    fake.put(old)
    until(lambda: fake.state(NAME) == "Running")
    (folder / "leases.json").write_text('{"run_id": "x", "tokens": {}}')
    run(settings)
    assert fake.deleted == [NAME, NAME]
    assert len(fake.created) == 1
    assert fake.created[0]["metadata"]["annotations"] != old["metadata"]["annotations"]


def test_a_failed_job_of_an_attempt_before_makes_room(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("fail", reason="DeadlineExceeded"), Attempt("succeed"))
    job = recognition_job(settings, RUN)
    fake.put(make_rayjob(yaml.safe_load(TEMPLATE.read_text()), job, settings, "the template"))
    until(lambda: fake.state(NAME) == "Failed")
    write_exit(folder, ShardsIncomplete("of the attempt before"))
    run(settings)
    assert len(fake.created) == 1


def test_jobs_of_dead_flows_of_this_home_are_deleted(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("hang"), Attempt("hang"), Attempt("succeed"))
    template = yaml.safe_load(TEMPLATE.read_text())
    # The same path in another pod, with another volume behind it.
    strangers = copy.deepcopy(template)
    cluster = strangers["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for volume in group["template"]["spec"]["volumes"]:
            if volume["name"] == "home":
                volume["persistentVolumeClaim"]["claimName"] = "others-home"
    names = []
    for run_id, made_from in (("dead", template), ("of-others", strangers)):
        job = recognition_job(settings, run_id)
        rayjob = make_rayjob(made_from, job, settings, "the template")
        names.append(rayjob["metadata"]["name"])
        fake.put(rayjob)
        until(lambda: fake.state(names[-1]) == "Running")
    run(settings)
    assert fake.state(names[0]) == "gone"
    assert fake.state(names[1]) == "Running", "another home's is none of ours"


def test_a_job_of_a_living_flow_is_left_alone(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    from platemill.lake import open_lake
    from platemill.lake.lease import Holder, day_lease

    fake = server(Attempt("hang"), Attempt("succeed"))
    other = "20260502T000000-aaaaaa"
    job = recognition_job(settings, other)
    rayjob = make_rayjob(yaml.safe_load(TEMPLATE.read_text()), job, settings, "the template")
    assert rayjob["metadata"]["annotations"][RUN_ANNOTATION] == other
    fake.put(rayjob)
    with Holder(open_lake(settings).storage, other, 60.0) as holder:
        holder.acquire(day_lease("2026-05-02"), 0.0, print, print)
        run(settings)
    assert fake.deleted == [NAME]


def test_an_api_that_is_away_for_a_while_is_waited_for(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kuberay, "_LONGEST_PAUSE", 0.3)
    fake = server(Attempt("hang"))

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        with fake.down():
            time.sleep(1.0)
        fake.faults["GET"] = [503, 500, 429, "lost", 401]
        until(lambda: not fake.faults["GET"])
        fake.say(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    with meanwhile(work):
        run(settings)
    assert fake.state(NAME) == "gone"


def test_credentials_that_expire_while_it_runs_are_said(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kuberay, "_REFUSED_SECONDS", 0.3)
    fake = server(Attempt("hang"))

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        fake.token = "renewed"

    with meanwhile(work), pytest.raises(ConfigurationError, match=EXPIRED):
        run(settings)


def test_what_cannot_work_is_said_before_anything_is_made(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = server()

    def refused(match: str, **given: Any) -> None:
        with pytest.raises(ConfigurationError, match=match):
            KubeRayCluster(settings.model_copy(update=given), RUN).launch()

    refused("no RayJob nobody", kuberay_template="nobody")
    refused("cannot be read", kuberay_template=str(tmp_path / "none.yaml"))
    refused("hold 32 at most", workers=33)
    refused("hold 0 at most", worker_resources={"t4": 1.0})
    fake.faults["GET"] = [403]
    refused("rights.yaml")
    fake.knows_kuberay = False
    refused("install the KubeRay operator")
    fake.token = "another"
    refused(EXPIRED)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nowhere"))
    refused("KUBECONFIG")
    assert not fake.created


def test_a_template_in_a_file(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("succeed"))
    run(settings.model_copy(update={"kuberay_template": str(TEMPLATE)}))
    assert len(fake.created) == 1


def test_a_manifest_that_the_api_refuses_is_a_wrong_setting(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server()
    fake.faults["POST"] = [422]
    with pytest.raises(ConfigurationError, match="Mend the template"):
        run(settings)


def test_a_cluster_that_does_not_start_says_why(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kuberay, "_PODS_SECONDS", 0.1)
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    fake = server(Attempt("wait", pod={"phase": "Pending", "conditions": [condition]}))
    with pytest.raises(ServerUnavailable, match=r"3 Insufficient nvidia\.com/gpu"):
        run(settings.model_copy(update={"kuberay_start_seconds": 1.5}))
    until(lambda: fake.state(NAME) == "gone")


def test_a_suspended_job_is_waited_for(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path
) -> None:
    fake = server(Attempt("hang"))

    def work() -> None:
        until(lambda: fake.state(NAME) == "Running")
        fake.say(NAME, jobDeploymentStatus="Suspended", jobStatus="")
        time.sleep(1.0)
        fake.say(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    with meanwhile(work):
        run(settings.model_copy(update={"kuberay_start_seconds": 0.5}))


FLOW = """
import sys
from platemill.settings import load_settings
from platemill.launch.recognition import run_recognition
run_recognition(load_settings(), sys.argv[1])
"""


def flow(fake: FakeKubernetes, settings: Settings, tmp_path: Path) -> subprocess.Popen[bytes]:
    variables = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", FLOW, RUN],
        env={**os.environ, **settings.environment(), **variables},
        cwd=PROJECT,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_flow_that_is_cancelled_deletes_its_job(
    server: Callable[..., FakeKubernetes],
    settings: Settings,
    folder: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    fake = server(Attempt("hang"))
    process = flow(fake, settings, tmp_path)
    until(lambda: fake.state(NAME) == "Running")
    process.send_signal(number)
    assert process.wait(60) != 0
    assert fake.state(NAME) == "gone"
    assert fake.deleted == [NAME]


def test_the_job_of_a_flow_that_was_killed_is_taken_over(
    server: Callable[..., FakeKubernetes], settings: Settings, folder: Path, tmp_path: Path
) -> None:
    fake = server(Attempt("hang"))
    process = flow(fake, settings, tmp_path)
    until(lambda: fake.state(NAME) == "Running")
    process.kill()
    process.wait()
    again = flow(fake, settings, tmp_path)
    before = fake.requests.count(ASKED)
    until(lambda: fake.requests.count(ASKED) > before + 1)
    fake.say(NAME, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    assert again.wait(60) == 0
    assert len(fake.created) == 1
    assert fake.state(NAME) == "gone"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    place = tmp_path / "archive" / "cam" / "2026" / "05" / "01"
    place.mkdir(parents=True)
    random = np.random.default_rng(3)
    for number in range(IMAGES):
        image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        assert cv2.imwrite(str(place / f"{number:06d}.png"), image)
    return tmp_path / "archive"


@pytest.mark.ray
def test_a_planned_night_is_recognised_as_a_rayjob(
    cluster: PrivateCluster,
    server: Callable[..., FakeKubernetes],
    archive: Path,
    settings: Settings,
) -> None:
    """Real Ray runs the entrypoint with the variables of the pods, as KubeRay's submitter does."""
    settings = settings.model_copy(update={"shard_images": 16})
    image = {"PYTHONPATH": str(PROJECT), "PLATEMILL_PROJECT": str(PROJECT)}
    with SmallServer(seconds=0.02) as triton:
        fake = server(Attempt("run"), ray=cluster, volumes={"home": settings.home}, image=image)
        for container in fake.ray_containers("platemill-night"):
            (address,) = (e for e in container["env"] if e["name"] == "PLATEMILL_TRITON_ADDRESS")
            address["value"] = triton.address
        plan = plan_all(settings, archive)
        told: list[JobProgress] = []
        run_recognition(settings, RUN, told.append)
    images, recognitions = rows_of(settings, plan)
    assert len(images) == IMAGES
    assert recognitions
    assert told[-1].images_done == told[-1].images_total == IMAGES
    assert json.loads((settings.runs / RUN / "job.json").read_text()) == {"ok": True}
    log = (settings.runs / RUN / "recognize.log").read_text()
    assert log.count("is recorded after") == len(plan.shards)
    assert fake.state(NAME) == "gone"
