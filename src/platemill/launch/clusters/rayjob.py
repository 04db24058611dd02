"""The RayJob of a run, made from a template. Plain data in, plain data out; nothing is asked.

The template is a whole RayJob: which images, how many nodes, on what machines, is said there and
nowhere else. What is ours is put in place by structure, never by text: name, entrypoint, variables,
labels.

KubeRay runs the entrypoint in a shell and writes a job's ``runtimeEnvYAML`` into a shell's double
quotes, where ``$`` is not safe. So the variables go to the containers instead, which lets the
containers beside Ray's see them, too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from platemill.errors import ConfigurationError
from platemill.launch.clusters.base import Job
from platemill.settings import Settings

__all__ = [
    "API_VERSION",
    "OURS",
    "RUN",
    "WORK",
    "RayJobState",
    "capacity",
    "check_template",
    "home_labels",
    "home_mount",
    "make_rayjob",
    "rayjob_name",
]

API_VERSION = "ray.io/v1"

RUN = "platemill/run"
"""Annotation: the run."""
WORK = "platemill/work"
"""Annotation: a hash of everything that decides what the job does."""
OURS = {"app.kubernetes.io/managed-by": "platemill"}
"""The label of everything that a night makes."""
_HOME = "platemill/home"

_VOLUME = "home"
_RUN_FOLDER = "RUN_FOLDER"
_LONGEST_NAME = 47
# What a shell takes for itself, written without quotes.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# Where these are is the image's business, or the cluster's.
_NOT_FOR_PODS = frozenset(
    {
        "PYTHONPATH",
        "PLATEMILL_PROJECT",
        "PLATEMILL_TRITON_PYTHON",
        "PLATEMILL_RAY_ADDRESS",
        # A secret, and the job writes no online store.
        "PLATEMILL_ONLINE_URL",
    }
)
# These change what is recognised, so that leaving one out would go unseen.
_MUST_REACH_PODS = frozenset(
    {"PLATEMILL_PROFILE", "PLATEMILL_TRITON_MODELS", "PLATEMILL_TRITON_OVERLAY"}
)


def rayjob_name(name: str) -> str:
    """A job's name as KubeRay takes one: a DNS label of 47 characters; the same for the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name.lower() and plain[:1].isalpha() and len(plain) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    head = f"p-{plain}"[: _LONGEST_NAME - len(digest) - 1].strip("-")
    return f"{head}-{digest}"


def home_labels(settings: Settings, template: Mapping[str, Any]) -> dict[str, str]:
    """The labels by which a home's RayJobs are found again, and no other home's.

    Args:
        settings: say where the home is here; in another pod the same path may be another home.
        template: says by its volume which one it is.
    """
    pod = template["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    volume = [volume for volume in pod.get("volumes", ()) if volume["name"] == _VOLUME]
    place = json.dumps([settings.lake_url, str(settings.home), volume], sort_keys=True)
    digest = hashlib.sha256(place.encode()).hexdigest()[:16]
    return {**OURS, _HOME: digest}


def check_template(template: Mapping[str, Any], source: str) -> None:
    """Refuse a template whose jobs could not work, or would never end.

    Raises:
        ConfigurationError: what is missing, and where.
    """
    spec = template.get("spec") or {}
    if template.get("kind") != "RayJob" or template.get("apiVersion") != API_VERSION:
        raise ConfigurationError(f"{source} is no RayJob of {API_VERSION}")
    if not (spec.get("rayClusterSpec") or {}).get("workerGroupSpecs"):
        raise ConfigurationError(f"{source} has no spec.rayClusterSpec.workerGroupSpecs")
    if spec.get("shutdownAfterJobFinishes") is not True:
        raise ConfigurationError(
            f"{source} has no spec.shutdownAfterJobFinishes: true, so that its nodes would stay "
            "after the night"
        )
    if not spec.get("activeDeadlineSeconds"):
        raise ConfigurationError(
            f"{source} has no spec.activeDeadlineSeconds: without it a job that nobody follows any "
            "more may run, and cost, for ever"
        )
    home_mount(template, source)


def home_mount(template: Mapping[str, Any], source: str) -> PurePosixPath:
    """Where the pods see the home: the mount of their volume ``home``, the same in all of them.

    Raises:
        ConfigurationError: it is not mounted in every Ray container, or not at one place.
    """
    mounts = set()
    for group, pod in _pods(template):
        ray = _ray_container(pod)
        found = [m["mountPath"] for m in ray.get("volumeMounts", ()) if m["name"] == _VOLUME]
        if not found:
            raise ConfigurationError(
                f"{source}: the first container of {group} does not mount a volume named "
                f"`{_VOLUME}`. The job reads its plan there and writes its progress, so it has to "
                "be the folder that PLATEMILL_HOME is here, on a volume that both can reach "
                "(docs/kubernetes.md)"
            )
        mounts.add(found[0])
    if len(mounts) > 1:
        raise ConfigurationError(
            f"{source} mounts the volume `{_VOLUME}` at different places: {sorted(mounts)}"
        )
    return PurePosixPath(mounts.pop())


def capacity(template: Mapping[str, Any], need: Mapping[str, float]) -> int:
    """How many workers its worker groups hold when they are as large as they may be.

    Args:
        template: the RayJob.
        need: what a worker takes of its node, by Ray's names: ``{"CPU": 1, "GPU": 0.25}``.
    """
    total = 0
    for group in template["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        has = _resources(group)
        a_pod = min(math.floor(has.get(what, 0.0) / amount) for what, amount in need.items())
        total += int(group.get("maxReplicas", 0)) * a_pod
    return total


def _resources(group: Mapping[str, Any]) -> dict[str, float]:
    """What a pod of a group tells Ray that it has, as KubeRay tells it."""
    about = _ray_container(group["template"]).get("resources") or {}
    limits = {**(about.get("requests") or {}), **(about.get("limits") or {})}
    has = {"CPU": limits.get("cpu"), "GPU": limits.get("nvidia.com/gpu")}
    start = group.get("rayStartParams") or {}
    said = json.loads(start.get("resources") or "{}")
    # It goes through a shell, so it is a text in a text.
    has |= json.loads(said) if isinstance(said, str) else said
    has |= group.get("resources") or {}
    has |= {
        what: start[name]
        for what, name in (("CPU", "num-cpus"), ("GPU", "num-gpus"))
        if name in start
    }
    return {what: _number(str(amount)) for what, amount in has.items() if amount is not None}


def make_rayjob(
    template: Mapping[str, Any], job: Job, settings: Settings, source: str
) -> dict[str, Any]:
    """The RayJob that runs a job.

    Args:
        template: the RayJob it is made from; it is not changed.
        job: what to run. Paths at and below the home become paths of the pods.
        settings: the deployment's settings, from which the job was made.
        source: where the template is from, for messages.

    Returns:
        A manifest without a namespace.

    Raises:
        ConfigurationError: the template or a setting does not do for pods.
    """
    check_template(template, source)
    mount = home_mount(template, source)
    words = [_moved(word, settings.home, mount) for word in ("python", *job.command)]
    for word in words:
        if not _PLAIN_WORD.fullmatch(word):
            raise ConfigurationError(
                f"{word!r} cannot be a word of a RayJob's entrypoint, which goes through two "
                "shells: use letters, digits and -_./: only"
            )
    spec = copy.deepcopy(template["spec"])
    spec.pop("suspend", None)
    spec["entrypoint"] = shlex.join(words)
    variables = {
        **_variables_for_pods(job.variables, settings.home, mount),
        _RUN_FOLDER: _moved(str(job.folder), settings.home, mount),
    }
    for _group, pod in _pods({"spec": spec}):
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            _add_variables(container, variables)
    said = template.get("metadata") or {}
    annotations = {
        name: value
        for name, value in (said.get("annotations") or {}).items()
        if not name.startswith("kubectl.kubernetes.io/")
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": rayjob_name(job.name),
            "labels": {**(said.get("labels") or {}), **home_labels(settings, template)},
            "annotations": {
                **annotations,
                RUN: job.folder.name,
                WORK: _digest(spec, job.folder),
            },
        },
        "spec": spec,
    }


@dataclass(frozen=True)
class RayJobState:
    """What KubeRay says of a RayJob.

    Attributes:
        uid: which object it is; a name is used again.
        work: see ``WORK``.
        run_id: see ``RUN``.
        deleting: somebody has deleted it, and it is being cleaned up.
        deployment: ``Initializing``, ``Running``, ``Retrying``, ``Suspended``, ``Complete``,
            ``Failed`` …; empty before the operator has seen it.
        job: Ray's word on the job, ``SUCCEEDED`` say.
        reason: why it failed, ``DeadlineExceeded`` say.
        message: the same for people.
        cluster: the name of its RayCluster.
        failed: attempts that failed.
    """

    uid: str
    work: str
    run_id: str
    deleting: bool
    deployment: str
    job: str
    reason: str
    message: str
    cluster: str
    failed: int

    @classmethod
    def of(cls, rayjob: Mapping[str, Any]) -> RayJobState:
        """Read it from the object."""
        about, status = rayjob["metadata"], rayjob.get("status") or {}
        annotations = about.get("annotations") or {}
        return cls(
            uid=about["uid"],
            work=annotations.get(WORK, ""),
            run_id=annotations.get(RUN, ""),
            deleting="deletionTimestamp" in about,
            deployment=status.get("jobDeploymentStatus") or "",
            job=status.get("jobStatus") or "",
            reason=status.get("reason") or "",
            message=(status.get("message") or "").strip(),
            cluster=status.get("rayClusterName") or "",
            failed=int(status.get("failed") or 0),
        )

    @property
    def terminal(self) -> bool:
        """Whether it will not change any more."""
        return self.deployment in ("Complete", "Failed")


def _pods(rayjob: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    yield "the head", cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield f"group {group['groupName']}", group["template"]


def _ray_container(pod: Mapping[str, Any]) -> dict[str, Any]:
    """KubeRay takes the first container for Ray's."""
    first: dict[str, Any] = pod["spec"]["containers"][0]
    return first


def _add_variables(container: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Add variables to a container; what the template sets itself stays."""
    own = container.get("env") or []
    known = {variable["name"] for variable in own}
    # Kubernetes expands $(NAME).
    added = [
        {"name": name, "value": value.replace("$(", "$$(")}
        for name, value in sorted(variables.items())
        if name not in known
    ]
    # Before the template's own, which may refer to them.
    container["env"] = [*added, *own]


def _variables_for_pods(
    variables: Mapping[str, str], home: Path, mount: PurePosixPath
) -> dict[str, str]:
    kept = {}
    for name, value in variables.items():
        if name in _NOT_FOR_PODS or name.startswith("PLATEMILL_KUBERAY_"):
            continue
        moved = _moved(value, home, mount)
        if name in _MUST_REACH_PODS and moved == value:
            raise ConfigurationError(
                f"{name}={value} is not in the home, so no pod sees it: put it below {home}, or "
                "build it into the image and let the template set the variable (docs/kubernetes.md)"
            )
        kept[name] = moved
    return kept


def _moved(value: str, home: Path, mount: PurePosixPath) -> str:
    """A path at or below the home as the pods see it; anything else as it is."""
    if value == str(home) or value.startswith(f"{home}/"):
        return str(mount) + value[len(str(home)) :]
    return value


def _number(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _digest(spec: Mapping[str, Any], folder: Path) -> str:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    # With other leases or another plan the same program does something else.
    for name in ("leases.json", "plan.json"):
        path = folder / name
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()[:32]
