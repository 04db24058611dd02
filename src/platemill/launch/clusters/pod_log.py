"""What pods say: the driver's log, line by line as it grows, and why a pod does not start."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError
from platemill.launch.clusters.kubernetes_api import KubernetesApi, NotFound, Unanswered

__all__ = ["PodLog", "why_pods_wait"]

# Kubernetes marks the pods of a Job with its name; KubeRay names the submitting Job as the RayJob.
_JOB = "job-name"
# The API takes whole seconds, by its own clock; what comes twice is known by its time.
_SLACK_SECONDS = 5


class PodLog:
    """Copies the driver's log, which the pod that submits the job prints, to a file.

    Args:
        api: the Kubernetes API.
        rayjob: the RayJob's name.
        path: the file; lines are added at its end.
    """

    def __init__(self, api: KubernetesApi, rayjob: str, path: Path) -> None:
        self._api = api
        self._rayjob = rayjob
        self._path = path
        self._pod = ""
        self._last = ("", "")
        self._asked: float | None = None

    def copy(self) -> None:
        """Add what came since the last time. A log that cannot be read is left for later."""
        with contextlib.suppress(Unanswered, NotFound, ConfigurationError, OSError):
            pods = self._api.pods({_JOB: self._rayjob})
            if not pods:
                return
            pod = str(pods[-1]["metadata"]["name"])
            if pod != self._pod:
                self._pod, self._asked, self._last = pod, None, ("", "")
            now = time.monotonic()
            seconds = None
            if self._asked is not None:
                seconds = math.ceil(now - self._asked) + _SLACK_SECONDS
            self._add(self._api.log(pod, seconds))
            self._asked = now

    def _add(self, text: str) -> None:
        added = []
        for line in text.splitlines():
            at, _, said = line.partition(" ")
            order = _order(at)
            if order > self._last:
                self._last = order
                added.append(f"{said}\n")
        if added:
            with self._path.open("a") as log:
                log.writelines(added)


def _order(at: str) -> tuple[str, str]:
    """A time as Kubernetes writes it, so that it can be compared: zeros at its end are left out."""
    seconds, _, fraction = at.rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


def why_pods_wait(pods: Iterable[Mapping[str, Any]]) -> str:
    """One line on the first pod that does not start, with the cluster's own reason; else empty."""
    for pod in pods:
        status = pod.get("status") or {}
        name = pod["metadata"]["name"]
        if status.get("phase") != "Pending":
            continue
        for condition in status.get("conditions") or ():
            if condition.get("reason") == "Unschedulable":
                return f"pod {name} finds no node: {condition.get('message', '')}"
        containers = [
            *(status.get("initContainerStatuses") or ()),
            *(status.get("containerStatuses") or ()),
        ]
        for container in containers:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason", "PodInitializing") not in (
                "PodInitializing",
                "ContainerCreating",
            ):
                return (
                    f"pod {name}, container {container['name']}: {waiting['reason']}, "
                    f"{waiting.get('message', '')}".rstrip(", ")
                )
    return ""
