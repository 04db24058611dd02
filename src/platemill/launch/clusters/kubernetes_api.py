"""The few calls to the Kubernetes API that a night needs, and what their failures mean.

A refusal is a `ConfigurationError` that says what to change. What may go away by itself is
`Unanswered`, and ``patiently`` asks again; whoever follows a job for hours does so by himself.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from platemill.errors import ConfigurationError, ServerUnavailable

__all__ = ["Conflict", "KubernetesApi", "NotFound", "Unanswered", "patiently"]

_T = TypeVar("_T")

_GROUP, _VERSION, _PLURAL = "ray.io", "v1", "rayjobs"
_TIMEOUT = (5.0, 30.0)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_RIGHTS = "infra/kubernetes/base/rights.yaml holds the rights it needs"


class Unanswered(Exception):
    """The API server did not answer, or was busy."""


class NotFound(Exception):
    """There is no such object."""


class Conflict(Exception):
    """There is one of that name already, or it is another one by now."""


class KubernetesApi:
    """RayJobs, pods and their logs in one namespace.

    Args:
        client: an ``ApiClient`` of the `kubernetes` package.
        namespace: the namespace.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes import client as kubernetes

        self._namespace = namespace
        self._server = str(client.configuration.host)
        self._custom = kubernetes.CustomObjectsApi(client)
        self._core = kubernetes.CoreV1Api(client)

    @classmethod
    def connect(cls, namespace: str) -> KubernetesApi:
        """Take the credentials from KUBECONFIG, ``~/.kube/config`` or the pod this runs in.

        Raises:
            ConfigurationError: there are none, or they cannot be read.
        """
        from kubernetes import client as kubernetes
        from kubernetes import config
        from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

        configuration = kubernetes.Configuration()
        # An answer that does not come is asked for again here, where it is known what for.
        configuration.retries = False
        places = [Path(place).expanduser() for place in KUBE_CONFIG_DEFAULT_LOCATION.split(":")]
        try:
            if any(place.exists() for place in places):
                config.load_kube_config(client_configuration=configuration)
            else:
                config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise ConfigurationError(
                f"no way to a Kubernetes cluster: {error}. Run inside one with a service account, "
                "or name a file of credentials in KUBECONFIG"
            ) from None
        return cls(kubernetes.ApiClient(configuration), namespace)

    def rayjob(self, name: str) -> dict[str, Any]:
        """One RayJob.

        Raises:
            NotFound: there is none of that name, or KubeRay is not installed.
        """
        get = self._custom.get_namespaced_custom_object
        got: dict[str, Any] = self._ask("get", get, *self._rayjobs(), name)
        return got

    def rayjobs(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """All RayJobs with these labels.

        Raises:
            ConfigurationError: KubeRay is not installed.
        """
        try:
            found = self._ask(
                "list",
                self._custom.list_namespaced_custom_object,
                *self._rayjobs(),
                label_selector=_selector(labels),
            )
        except NotFound:
            raise ConfigurationError(
                f"the Kubernetes cluster at {self._server} knows no RayJobs of {_GROUP}/{_VERSION}:"
                " install the KubeRay operator, or name another cluster"
            ) from None
        items: list[dict[str, Any]] = found["items"]
        return items

    def create(self, rayjob: Mapping[str, Any]) -> dict[str, Any]:
        """Create a RayJob.

        Raises:
            Conflict: there is one of that name.
        """
        create = self._custom.create_namespaced_custom_object
        made: dict[str, Any] = self._ask("create", create, *self._rayjobs(), body=dict(rayjob))
        return made

    def delete(self, name: str, uid: str) -> None:
        """Delete a RayJob with all that it owns; fine if it is gone or is another one by now."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            # It stays until its cluster is gone, so that its absence means something.
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        delete = self._custom.delete_namespaced_custom_object
        try:
            self._ask("delete", delete, *self._rayjobs(), name, body=options)
        except (NotFound, Conflict):
            return

    def pods(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The pods with these labels, the newest last."""
        listed = self._ask(
            "list",
            self._core.list_namespaced_pod,
            self._namespace,
            label_selector=_selector(labels),
            _preload_content=False,
        )
        pods: list[dict[str, Any]] = json.loads(listed.data)["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    def log(self, pod: str, seconds: int | None = None) -> str:
        """A pod's log, each line behind its time.

        Args:
            pod: its name.
            seconds: only lines of so many seconds; default: all.
        """
        given = {} if seconds is None else {"since_seconds": seconds}
        answer = self._ask(
            "read",
            self._core.read_namespaced_pod_log,
            pod,
            self._namespace,
            timestamps=True,
            _preload_content=False,
            **given,
        )
        return bytes(answer.data).decode(errors="replace")

    def _rayjobs(self) -> tuple[str, str, str, str]:
        return _GROUP, _VERSION, self._namespace, _PLURAL

    def _ask(self, verb: str, call: Callable[..., Any], *given: object, **named: object) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*given, _request_timeout=_TIMEOUT, **named)
        except HTTPError as error:
            raise Unanswered(
                f"the Kubernetes API at {self._server} does not answer: {_first_line(error)}"
            ) from None
        except ApiException as error:
            raise self._meaning(verb, error) from None

    def _meaning(self, verb: str, error: Any) -> Exception:
        said = f"the Kubernetes API at {self._server} says {error.status}, {_said(error)}"
        if error.status == 404:
            return NotFound(said)
        if error.status == 409:
            return Conflict(said)
        if error.status == 401:
            return ConfigurationError(
                f"{said}: the credentials are wrong or have expired. Renew them (a cloud's login, "
                "the token in KUBECONFIG, the pod's service account) and run again: what was "
                "recognised is kept"
            )
        if error.status == 403:
            return ConfigurationError(
                f"{said}: the account may not {verb} this in namespace {self._namespace}; {_RIGHTS}"
            )
        if error.status in _BUSY or error.status == 0:
            return Unanswered(said)
        return ConfigurationError(f"{said}. Mend the template or the settings that it is about")


def patiently(call: Callable[[], _T], seconds: float) -> _T:
    """Call until it is answered.

    Args:
        call: what to do; it must be safe to repeat.
        seconds: for how long to try.

    Raises:
        ServerUnavailable: it was not answered.
    """
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except Unanswered as error:
            if time.monotonic() + pause > deadline:
                raise ServerUnavailable(
                    f"{error}; it was asked for {seconds:g} s. Check KUBECONFIG and the network, "
                    "then run again: what was recognised is kept"
                ) from None
        # Many nights may wait for the same server.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _said(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]
