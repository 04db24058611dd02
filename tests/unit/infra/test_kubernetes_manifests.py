"""The manifests under infra/kubernetes: built by the real kustomize, held against the schemas.

Kubernetes' own schemas say what a manifest of its own may hold, and are asked of the pods inside of
RayJobs, too. KubeRay's are looked at where they lie beside the checkout. Beyond the schemas: what
the manifests name must be there, in the code, in the images and in the other manifests.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from kubernetes_validate.utils import latest_version

from platemill.launch.clusters.kubernetes_api import KubernetesApi
from platemill.launch.clusters.rayjob import capacity, check_template, make_rayjob
from platemill.launch.recognition import recognition_job
from platemill.settings import QUIET_ENVIRONMENT, Settings

PROJECT = Path(__file__).parents[3]
INFRA = PROJECT / "infra" / "kubernetes"
IMAGES = PROJECT / "infra" / "images"
OVERLAYS = ("cpu", "gpu", "spot")
SCHEMAS = Path(os.environ.get("KUBERAY_SCHEMAS", PROJECT.parent / "shared" / "schemas"))
# Native sidecars, which Triton is, came with 1.29.
OLDEST = "1.29"
NEWEST = latest_version()
SECRETS = {"platemill-bucket", "platemill-redis"}


@cache
def built(overlay: str) -> tuple[dict[str, Any], ...]:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", INFRA / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
    )
    return tuple(yaml.safe_load_all(done.stdout))


def objects(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    found = (one for one in built(overlay) if one["kind"] == kind)
    return {one["metadata"]["name"]: copy.deepcopy(one) for one in found}


def template(overlay: str) -> dict[str, Any]:
    return objects(overlay, "RayJob")["platemill-night"]


def night(overlay: str, tmp_path: Path) -> dict[str, Any]:
    """The RayJob that a night really creates from the overlay's template."""
    settings = Settings(home=tmp_path, kuberay_template="platemill-night", lake_url="s3://m/lake")
    job = recognition_job(settings, "20260501T000000-abcdef")
    return make_rayjob(template(overlay), job, settings, overlay)


def pods(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod templates inside of a manifest."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "RayJob":
        cluster = spec["rayClusterSpec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            yield group["template"]
    elif "template" in spec:
        yield spec["template"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def worker(rayjob: dict[str, Any]) -> dict[str, Any]:
    (group,) = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    found: dict[str, Any] = group
    return found


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in containers(pod) if one["name"] == name)
    return found


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    about = {**template.get("metadata", {}), "name": "one"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": template["spec"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_own_schemas(overlay: str, version: str, tmp_path: Path) -> None:
    seen = 0
    for manifest in (*built(overlay), night(overlay, tmp_path)):
        if manifest["kind"] != "RayJob":
            kubernetes_validate.validate(manifest, version, strict=True)
        for pod in pods(manifest):
            kubernetes_validate.validate(as_pod(pod), version, strict=True)
            seen += 1
    assert seen == 6


def test_the_schemas_do_refuse() -> None:
    (pod, *_) = pods(template("gpu"))
    pod["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
        kubernetes_validate.validate(as_pod(pod), NEWEST, strict=True)


def strict(schema: Any) -> Any:
    """A CustomResourceDefinition's schema that refuses what the API server would drop."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    keeps = made.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not keeps:
        made.setdefault("additionalProperties", False)
    return made


# What our RayJobs use, told from KubeRay's definitions of 2025; wherever those lie beside the
# checkout themselves, they are asked as well.
USED = {
    "": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "entrypoint": str,
        "rayClusterSpec": dict,
        "shutdownAfterJobFinishes": bool,
        "submissionMode": str,
        "suspend": bool,
        "ttlSecondsAfterFinished": int,
    },
    "rayClusterSpec": {
        "authOptions": dict,
        "autoscalerOptions": dict,
        "enableInTreeAutoscaling": bool,
        "headGroupSpec": dict,
        "rayVersion": str,
        "workerGroupSpecs": list,
    },
    "rayClusterSpec.headGroupSpec": {"rayStartParams": dict, "template": dict},
    "rayClusterSpec.workerGroupSpecs.0": {
        "groupName": str,
        "maxReplicas": int,
        "minReplicas": int,
        "rayStartParams": dict,
        "replicas": int,
        "template": dict,
    },
    "rayClusterSpec.autoscalerOptions": {
        "idleTimeoutSeconds": int,
        "upscalingMode": str,
        "version": str,
    },
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kuberays_schemas(overlay: str, tmp_path: Path) -> None:
    for rayjob in (template(overlay), night(overlay, tmp_path)):
        for path, fields in USED.items():
            place: Any = rayjob["spec"]
            for part in filter(None, path.split(".")):
                place = place[int(part)] if part.isdigit() else place[part]
            assert place.keys() <= fields.keys(), path
            for name, value in place.items():
                assert type(value) is fields[name], f"{path}.{name}"
    definition = SCHEMAS / "ray.io_rayjobs.yaml"
    if not definition.exists():
        return
    (version,) = (
        v
        for v in yaml.load(definition.read_text(), yaml.CSafeLoader)["spec"]["versions"]
        if v["name"] == "v1"
    )
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft7Validator(schema)
    for rayjob in (template(overlay), night(overlay, tmp_path)):
        problems = [f"{e.json_path}: {e.message[:200]}" for e in validator.iter_errors(rayjob)]
        assert not problems
        rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]["idleTimeout"] = 1
        assert not validator.is_valid(rayjob), "an unknown field has to be seen"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_night_costs_nothing_before_it_and_after_it(overlay: str) -> None:
    rayjob = template(overlay)
    check_template(rayjob, overlay)
    spec, group = rayjob["spec"], worker(rayjob)
    assert spec["suspend"] is True, "the template itself never runs"
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    assert group["maxReplicas"] > 1
    assert spec["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["ttlSecondsAfterFinished"] <= 600
    assert 0 < spec["activeDeadlineSeconds"] <= 24 * 3600
    assert spec["backoffLimit"] >= 1
    head = spec["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0", "a worker there would keep nodes from coming"
    # The second version of the autoscaler wants it.
    assert {pod["spec"]["restartPolicy"] for pod in pods(rayjob)} == {"Never"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_tritons_place_is_beside_the_worker(overlay: str) -> None:
    rayjob = template(overlay)
    pod = worker(rayjob)["template"]
    triton, ray_worker = container(pod, "triton"), container(pod, "ray-worker")
    assert triton["restartPolicy"] == "Always", "a sidecar that is started again"
    assert pod["spec"]["containers"][0] is ray_worker, "KubeRay takes the first for Ray's"
    options = dict(arg[2:].split("=", 1) for arg in triton["args"][1:] if "=" in arg)
    address = f"{options['grpc-address']}:{options['grpc-port']}"
    for one in (ray_worker, *next(pods(rayjob))["spec"]["containers"]):
        assert {"name": "PLATEMILL_TRITON_ADDRESS", "value": address} in one["env"]
    assert {options["http-address"], options["grpc-address"]} == {"127.0.0.1"}
    assert f"http://{options['http-address']}:{options['http-port']}/" in str(
        triton["livenessProbe"]
    )
    # Frames go through memory that both see; models come from the container before it.
    shared = {"name": "shared-memory", "mountPath": "/dev/shm"}
    assert shared in triton["volumeMounts"] and shared in ray_worker["volumeMounts"]
    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["models", "triton"]
    fetched = container(pod, "models")
    assert f"--target={options['model-repository']}" in fetched["args"]
    assert {m["mountPath"] for m in fetched["volumeMounts"]} == {"/mill", "/models"}
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in triton["volumeMounts"]
    # A node that is taken back leaves time to give back its shards.
    (drain,) = (
        int(variable["value"])
        for variable in ray_worker["env"]
        if variable["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
    )
    assert 30 <= drain < pod["spec"]["terminationGracePeriodSeconds"]


def test_each_overlay_asks_for_its_machines() -> None:
    asked = {}
    for overlay in OVERLAYS:
        rayjob = template(overlay)
        spec = worker(rayjob)["template"]["spec"]
        gpus = [
            one["name"]
            for one in containers({"spec": spec})
            if "nvidia.com/gpu" in one["resources"]["limits"]
        ]
        taints = {toleration["key"] for toleration in spec.get("tolerations", ())}
        asked[overlay] = (gpus, taints, "affinity" in spec)
        head = next(pods(rayjob))["spec"]
        assert "tolerations" not in head and "nvidia.com/gpu" not in str(head)
    assert asked["cpu"] == ([], set(), False)
    assert asked["gpu"] == (["triton"], {"nvidia.com/gpu"}, False)
    gpus, taints, chosen = asked["spot"]
    assert gpus == ["triton"] and chosen
    assert taints > {"nvidia.com/gpu"} and len(taints) == 4


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_counts_fit_each_other(overlay: str) -> None:
    rayjob = template(overlay)
    group = worker(rayjob)
    ray_worker = container(group["template"], "ray-worker")
    assert group["rayStartParams"]["num-cpus"] == ray_worker["resources"]["requests"]["cpu"]
    settings = objects(overlay, "ConfigMap")["platemill-settings"]["data"]
    need = {"CPU": 1.0, **json.loads(settings.get("PLATEMILL_WORKER_RESOURCES", "{}"))}
    assert int(settings["PLATEMILL_WORKERS"]) <= capacity(rayjob, need)
    assert ("GPU" in need) == (overlay != "cpu")
    for pod in pods(rayjob):
        for one in containers(pod):
            assert one["resources"]["limits"]["memory"] == one["resources"]["requests"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_that_are_named_are_settings(overlay: str) -> None:
    known = {f"PLATEMILL_{name.upper()}" for name in Settings.model_fields}
    data = objects(overlay, "ConfigMap")["platemill-settings"]["data"]
    named = set(data)
    for manifest in built(overlay):
        for pod in pods(manifest):
            named |= {e["name"] for one in containers(pod) for e in one.get("env", ())}
    for path in IMAGES.glob("*.Dockerfile"):
        named |= set(re.findall(r"PLATEMILL_[A-Z_]+", path.read_text()))
    ours = {name for name in named if name.startswith("PLATEMILL_")}
    assert len(ours) > 4
    assert ours <= known
    names = {name.removeprefix("PLATEMILL_").lower(): value for name, value in data.items()}
    if resources := names.get("worker_resources"):
        names["worker_resources"] = json.loads(resources)
    settings = Settings(**names)
    rayjob = template(overlay)
    assert settings.kuberay_template == rayjob["metadata"]["name"]
    assert settings.kuberay_namespace == rayjob["metadata"]["namespace"]
    mounts = next(pods(rayjob))["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "home", "mountPath": str(settings.home)} in mounts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_referred_to_is_there(overlay: str) -> None:
    there = {kind: set(objects(overlay, kind)) for kind in ("ConfigMap", "ServiceAccount")}
    there["PersistentVolumeClaim"] = set(objects(overlay, "PersistentVolumeClaim"))
    for pod in (pod for manifest in built(overlay) for pod in pods(manifest)):
        spec = pod["spec"]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        account = spec.get("serviceAccountName", "prefect-worker")
        assert account in there["ServiceAccount"]
        for one in containers(pod):
            for mount in one.get("volumeMounts", ()):
                # A StatefulSet makes its own.
                assert mount["name"] in {*volumes, "data"}
            for source in one.get("envFrom", ()):
                reference = source.get("configMapRef") or source["secretRef"]
                known = there["ConfigMap"] if "configMapRef" in source else SECRETS
                assert reference["name"] in known
            for variable in one.get("env", ()):
                if "valueFrom" in variable:
                    assert variable["valueFrom"]["secretKeyRef"]["name"] in SECRETS
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in there["PersistentVolumeClaim"]
            if config := volume.get("configMap"):
                assert config["name"] in there["ConfigMap"]
    assert not objects(overlay, "Secret"), "secrets are referred to, never written down"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_rights_are_those_of_the_calls_that_are_made(overlay: str) -> None:
    rules = objects(overlay, "Role")["platemill"]["rules"]
    rights = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    source = Path(str(sys.modules[KubernetesApi.__module__].__file__)).read_text()
    calls = set(re.findall(r"self\._(?:custom|core)\.(\w+)", source))
    resources = {"custom_object": "rayjobs", "pod": "pods", "pod_log": "pods/log"}
    verbs = {"read": "get"}
    wanted = set()
    for call in calls:
        verb, _, what = call.partition("_namespaced_")
        wanted.add((resources[what], verbs.get(verb, verb)))
    assert rights == wanted


def test_images_are_of_this_version_and_of_one() -> None:
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    seen = set()
    for overlay in OVERLAYS:
        for manifest in built(overlay):
            for pod in pods(manifest):
                seen |= {one["image"] for one in containers(pod)}
    version = about["version"]
    assert seen == {f"platemill:{version}", f"platemill-triton:{version}", "redis:7.4-bookworm"}
    for name in ("platemill", "platemill-triton"):
        assert f"--tag {name}:{version} ." in (IMAGES / f"{name}.Dockerfile").read_text()
    for overlay in OVERLAYS:
        assert template(overlay)["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__


def test_modules_that_are_named_are_there() -> None:
    named = set()
    for overlay in OVERLAYS:
        named |= set(re.findall(r"-m ([\w.]+)", template(overlay)["spec"]["entrypoint"]))
        words = container(worker(template(overlay))["template"], "models")["args"]
        named.add(words[words.index("-m") + 1])
    assert named == {"ray_jobs.recognize", "platemill.launch.clusters.models"}
    assert all(importlib.util.find_spec(module) for module in named)


def test_nobody_is_root_and_nothing_is_asked_of_ray() -> None:
    for manifest in built("spot"):
        for pod in pods(manifest):
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            for one in containers(pod):
                assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    name = "RAY_USAGE_STATS_ENABLED"
    quiet = {"name": name, "value": QUIET_ENVIRONMENT[name]}
    for pod in pods(template("spot")):
        assert quiet in pod["spec"]["containers"][0]["env"]


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.Dockerfile")), ids=lambda p: p.stem)
def test_dockerfiles(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    ignored = (PROJECT / ".dockerignore").read_text().split()
    for sources in re.findall(r"^COPY (.+) \S+$", path.read_text(), re.M):
        for source in sources.split():
            assert (PROJECT / source).exists(), source
            # Everything is left out of the context but what is named.
            assert any(
                f"!{place}" in ignored for place in (source, *map(str, Path(source).parents))
            ), source


def test_the_images_know_where_their_parts_lie() -> None:
    main = (IMAGES / "platemill.Dockerfile").read_text()
    folder = re.findall(r"^WORKDIR (\S+)$", main, re.M)[0]
    assert f"PLATEMILL_PROJECT={folder}" in main and f"PYTHONPATH={folder}" in main
    copied = set(re.findall(r"^COPY (\S+) \1$", main, re.M))
    assert {"flows", "ray_jobs", "model_repository", "warehouse", "feature_repo"} <= copied
    args = container(worker(template("gpu"))["template"], "models")["args"]
    assert f"--source={folder}/model_repository" in args
    triton = (IMAGES / "platemill-triton.Dockerfile").read_text()
    options = container(worker(template("gpu"))["template"], "triton")["args"]
    backends = next(o.split("=")[1] for o in options if o.startswith("--backend-directory="))
    workdir = re.findall(r"^WORKDIR (\S+)$", triton, re.M)[0]
    assert backends == f"{workdir}/backends"
    assert "COPY infra/triton/backends backends" in triton
    base = re.findall(r"^FROM (\S+)$", triton, re.M)[0]
    assert re.fullmatch(r"nvcr\.io/nvidia/tritonserver:2[4-9]\.\d\d-py3", base)
