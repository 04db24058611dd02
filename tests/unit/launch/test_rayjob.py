"""The run's RayJob as it is made from a template: pure data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from platemill.errors import ConfigurationError
from platemill.launch.clusters.base import Job
from platemill.launch.clusters.rayjob import (
    RayJobState,
    capacity,
    check_template,
    make_rayjob,
    rayjob_name,
)
from platemill.launch.recognition import recognition_job
from platemill.settings import Settings

PROJECT = Path(__file__).parents[3]
RUN = "20260501T000000-abcdef"


@pytest.fixture
def template() -> dict[str, Any]:
    path = PROJECT / "infra" / "kubernetes" / "base" / "rayjob.yaml"
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return read


def made(template: dict[str, Any], tmp_path: Path, **given: Any) -> dict[str, Any]:
    settings = Settings(home=tmp_path / "home", kuberay_template="platemill-night", **given)
    return make_rayjob(template, recognition_job(settings, RUN), settings, "the template")


def containers(rayjob: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return {
        container["name"]: container
        for pod in pods
        for kind in ("initContainers", "containers")
        for container in pod["template"]["spec"].get(kind, ())
    }


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_a_run_has_one_name_that_kuberay_takes() -> None:
    assert rayjob_name(f"platemill-{RUN}") == "platemill-20260501t000000-abcdef"
    long = rayjob_name("platemill-" + "x" * 60)
    assert len(long) <= 47
    assert long != rayjob_name("platemill-" + "x" * 61)
    assert rayjob_name("1st_night") != rayjob_name("1st-night")
    for name in ("1st_night", "-", "Ünder", "a--b"):
        got = rayjob_name(name)
        assert got == rayjob_name(name)
        assert got[0].isalpha() and got[-1].isalnum() and got == got.lower()


def test_the_pods_see_the_home_where_the_template_mounts_it(
    template: dict[str, Any], tmp_path: Path
) -> None:
    rayjob = made(template, tmp_path, profile=tmp_path / "home" / "own.toml")
    assert rayjob["spec"]["entrypoint"] == (
        f"python -m ray_jobs.recognize --home /mill --run-id {RUN}"
    )
    assert "suspend" not in rayjob["spec"]
    for name, container in containers(rayjob).items():
        seen = variables(container)
        assert seen["PLATEMILL_HOME"] == "/mill", name
        assert seen["PLATEMILL_PROFILE"] == "/mill/own.toml"
        assert seen["RUN_FOLDER"] == f"/mill/runs/{RUN}"
        # The machine's own places, and secrets, are not theirs.
        assert not {"PLATEMILL_PROJECT", "PYTHONPATH"} & set(seen), name
        assert not [v for v in seen if v.startswith("PLATEMILL_KUBERAY")]
    assert str(tmp_path) not in yaml.safe_dump(rayjob)


def test_secrets_stay_where_they_are(template: dict[str, Any], tmp_path: Path) -> None:
    url = "redis://user:hunter2@redis:6379/0"
    rayjob = made(template, tmp_path, online_url=url)
    assert "hunter2" not in yaml.safe_dump(rayjob)
    worker = containers(rayjob)["ray-worker"]
    assert worker["envFrom"] == [{"secretRef": {"name": "platemill-bucket", "optional": True}}]


def test_what_the_template_says_of_the_pods_wins(template: dict[str, Any], tmp_path: Path) -> None:
    rayjob = made(template, tmp_path, triton_address="triton.elsewhere:8001", shard_images=7)
    worker = variables(containers(rayjob)["ray-worker"])
    assert worker["PLATEMILL_TRITON_ADDRESS"] == "127.0.0.1:8001"
    assert worker["PLATEMILL_SHARD_IMAGES"] == "7"
    names = [entry["name"] for entry in containers(rayjob)["ray-worker"]["env"]]
    assert len(names) == len(set(names))


def test_kubernetes_expands_nothing_in_a_setting(template: dict[str, Any], tmp_path: Path) -> None:
    rayjob = made(template, tmp_path, layout="$(HOSTNAME)/{camera}.jpg")
    worker = variables(containers(rayjob)["ray-worker"])
    assert worker["PLATEMILL_LAYOUT"] == "$$(HOSTNAME)/{camera}.jpg"


def test_models_that_no_pod_sees_are_refused(template: dict[str, Any], tmp_path: Path) -> None:
    for setting in ("profile", "triton_models", "triton_overlay"):
        with pytest.raises(ConfigurationError, match=setting.upper()):
            made(template, tmp_path, **{setting: tmp_path / "elsewhere"})


def test_a_word_that_a_shell_would_change_is_refused(
    template: dict[str, Any], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    job = Job("night", ("-m", "ray_jobs.recognize", "--run-id", "a; rm -rf /"), {}, tmp_path)
    with pytest.raises(ConfigurationError, match="two shells"):
        make_rayjob(template, job, settings, "the template")


def test_the_work_is_the_same_only_with_the_same_leases_and_plan(
    template: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "runs" / RUN
    folder.mkdir(parents=True)

    def work(**given: Any) -> str:
        rayjob = made(template, tmp_path, **given)
        return RayJobState.of({"metadata": {**rayjob["metadata"], "uid": "1"}}).work

    first = work()
    assert work() == first
    assert work(shard_images=3) != first
    (folder / "leases.json").write_text('{"tokens": {"day=2026-05-01": 3}}')
    second = work()
    assert second != first
    (folder / "plan.json").write_text("{}")
    assert work() not in (first, second)


def test_the_template_is_not_changed_and_its_names_stay_its_own(
    template: dict[str, Any], tmp_path: Path
) -> None:
    before = copy.deepcopy(template)
    template["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "team": "roads",
    }
    template["metadata"]["uid"] = "7"
    rayjob = made(template, tmp_path)
    assert template["spec"] == before["spec"]
    assert rayjob["metadata"]["annotations"]["team"] == "roads"
    assert len(rayjob["metadata"]["annotations"]) == 3
    assert "uid" not in rayjob["metadata"]


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("kind",), "RayCluster", "no RayJob"),
        (("spec", "shutdownAfterJobFinishes"), False, "would stay"),
        (("spec", "activeDeadlineSeconds"), None, "for ever"),
        (("spec", "rayClusterSpec", "workerGroupSpecs"), [], "workerGroupSpecs"),
    ],
)
def test_a_template_that_would_cost_for_ever_is_refused(
    template: dict[str, Any], path: tuple[str, ...], value: Any, match: str
) -> None:
    place = template
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ConfigurationError, match=match):
        check_template(template, "the template")


def test_a_template_without_the_home_is_refused(template: dict[str, Any]) -> None:
    group = template["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
    mounts[0]["mountPath"] = "/elsewhere"
    with pytest.raises(ConfigurationError, match="different places"):
        check_template(template, "the template")
    del mounts[0]
    with pytest.raises(ConfigurationError, match="group recognise"):
        check_template(template, "the template")


def test_the_room_for_workers_is_what_the_groups_may_grow_to(template: dict[str, Any]) -> None:
    group = template["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert capacity(template, {"CPU": 1}) == 8 * 4
    assert capacity(template, {"CPU": 3}) == 8
    assert capacity(template, {"CPU": 1, "GPU": 0.25}) == 0
    group["rayStartParams"]["num-gpus"] = "1"
    assert capacity(template, {"CPU": 1, "GPU": 0.25}) == 8 * 4
    assert capacity(template, {"CPU": 1, "GPU": 0.5}) == 8 * 2
    # As Ray's manual writes it for a shell.
    group["rayStartParams"]["resources"] = '"{\\"t4\\": 3}"'
    assert capacity(template, {"CPU": 1, "t4": 1}) == 8 * 3
    del group["rayStartParams"]["num-cpus"]
    container = group["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "2500m"}}
    assert capacity(template, {"CPU": 1}) == 8 * 2
    group["resources"] = {"CPU": "6"}
    assert capacity(template, {"CPU": 1}) == 8 * 6
