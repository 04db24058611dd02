"""``prefect.yaml`` and the pool of Kubernetes jobs: what they name is there, and the job is valid.

The job is made as Prefect's Kubernetes worker makes it: the template with a deployment's variables.
That worker itself is not installed here.
"""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import latest_version
from prefect.utilities.templating import apply_values

from platemill.settings import QUIET_ENVIRONMENT

PROJECT = Path(__file__).parents[3]
BASE = PROJECT / "infra" / "kubernetes" / "base"
POOL = json.loads((PROJECT / "infra" / "prefect" / "kubernetes-pool.json").read_text())
DEPLOYMENTS = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
BY_NAME = {f"{one['entrypoint'].rpartition(':')[2]}/{one['name']}": one for one in DEPLOYMENTS}


def in_the_base(kind: str) -> set[str]:
    manifests = [m for p in BASE.glob("*.yaml") for m in yaml.safe_load_all(p.read_text())]
    found = {m["metadata"]["name"] for m in manifests if m["kind"] == kind}
    if kind == "ConfigMap":
        [custom] = [m for m in manifests if m["kind"] == "Kustomization"]
        found |= {made["name"] for made in custom["configMapGenerator"]}
    return found


def job(deployment: dict[str, Any]) -> dict[str, Any]:
    """The Job that a run of the deployment becomes."""
    properties = POOL["variables"]["properties"]
    defaults = {name: p["default"] for name, p in properties.items() if "default" in p}
    given = {**defaults, **deployment["work_pool"]["job_variables"]}
    given |= {"image": "registry.example/platemill:7", "name": "a-night"}
    # As the worker does: variables as a list, the command as words.
    given["env"] = [{"name": n, "value": v} for n, v in given["env"].items()]
    given["command"] = ["prefect", "flow-run", "execute"]
    manifest: dict[str, Any] = apply_values(POOL["job_configuration"]["job_manifest"], given)
    return manifest


def test_three_flows_are_deployed_to_two_pools() -> None:
    assert len(DEPLOYMENTS) == len(BY_NAME) == 6
    flows = {name.partition("/")[0] for name in BY_NAME}
    assert flows == {"nightly", "backfill", "vacuum"}
    for deployment in DEPLOYMENTS:
        assert deployment["work_pool"]["name"] == deployment["name"]


@pytest.mark.parametrize("name", BY_NAME)
def test_entrypoints_take_the_parameters_that_are_given(name: str) -> None:
    path, _, function = BY_NAME[name]["entrypoint"].partition(":")
    flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), function)
    assert BY_NAME[name]["parameters"].keys() <= inspect.signature(flow.fn).parameters.keys()
    assert flow.name == name.partition("/")[0]


@pytest.mark.parametrize("name", BY_NAME)
def test_deployments_have_the_quiet_environment_and_heartbeats(name: str) -> None:
    given = dict(BY_NAME[name]["work_pool"]["job_variables"]["env"])
    assert given.pop("PREFECT_FLOWS_HEARTBEAT_FREQUENCY") == "30"
    assert given == QUIET_ENVIRONMENT


def test_the_pool_knows_the_variables_that_are_given() -> None:
    for deployment in DEPLOYMENTS:
        if deployment["name"] == "kubernetes":
            given = deployment["work_pool"]["job_variables"].keys()
            assert given <= POOL["variables"]["properties"].keys()


@pytest.mark.parametrize("version", ["1.29", latest_version()])
def test_the_job_is_one_that_kubernetes_takes(version: str) -> None:
    kubernetes_validate.validate(job(BY_NAME["nightly/kubernetes"]), version, strict=True)


def test_what_the_job_refers_to_is_in_the_manifests() -> None:
    manifest = job(BY_NAME["nightly/kubernetes"])
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    settings, secret = container["envFrom"]
    assert settings["configMapRef"]["name"] in in_the_base("ConfigMap")
    # Credentials come from a Secret, by its name; no manifest and no deployment holds one.
    assert secret == {"secretRef": {"name": "platemill"}}
    assert pod["serviceAccountName"] in in_the_base("ServiceAccount")
    claims = {
        v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == in_the_base("PersistentVolumeClaim")
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts == {"home": "/mill", "archive": "/photos", "shared-memory": "/dev/shm"}
    assert manifest["metadata"]["namespace"] in in_the_base("Namespace")


def test_the_code_is_where_the_image_has_it() -> None:
    dockerfile = (PROJECT / "infra" / "images" / "platemill.Dockerfile").read_text()
    [folder] = {
        step["directory"]
        for deployment in DEPLOYMENTS
        for steps in deployment.get("pull", ())
        for step in steps.values()
    }
    assert f"WORKDIR {folder}\n" in dockerfile
    for deployment in DEPLOYMENTS:
        assert f"COPY {deployment['entrypoint'].partition('/')[0]} " in dockerfile
