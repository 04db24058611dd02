"""A small fake of a Kubernetes API server with KubeRay's operator behind it.

The protocol is the real one, over HTTP, so that the real `kubernetes` client talks to it: objects
with uid, resourceVersion and generation, 404, 409 and 422 with a ``Status`` body, preconditions and
foreground deletion, label selectors, pod logs with times. RayJobs go through the operator's states.
What the real API server validates by CustomResourceDefinitions is left to other tests.

The operator's part is a script: a job's fate is a list of attempts, each of which succeeds, fails,
hangs … or submits the RayJob's entrypoint to a real Ray cluster, with the variables and the volume
that its pods would have.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from platemill.launch.clusters.private import PrivateCluster

NAMESPACE = "mill"
_RAYJOBS = re.compile(
    r"/apis/ray\.io/v1/namespaces/(?P<namespace>[^/]+)/rayjobs(/(?P<name>[^/]+))?"
)
_PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(/(?P<name>[^/]+)/log)?")
_TICK = 0.02


@dataclass
class Attempt:
    """What one attempt at a job does.

    Attributes:
        does: ``succeed``, ``fail``, ``stop`` (Ray's job is stopped), ``hang`` (runs until it is
            deleted), ``wait`` (the cluster never starts), or ``run`` the entrypoint for real.
        lines: what its driver prints.
        reason: KubeRay's, if it fails.
        message: the same for people.
        pod: the status of a worker's pod while it lasts.
    """

    does: str = "succeed"
    lines: list[str] = field(default_factory=list)
    reason: str = "AppFailed"
    message: str = ""
    pod: dict[str, Any] = field(default_factory=dict)


class FakeKubernetes:
    """The server, its objects, and the operator's thread.

    Args:
        fates: the attempts of the jobs to come, in their order.
        ray: where entrypoints that are run go to.
        volumes: name of a volume → its folder here.
        image: variables that the pods' image sets.
    """

    def __init__(
        self,
        fates: list[Attempt],
        *,
        ray: PrivateCluster | None = None,
        volumes: dict[str, Path] | None = None,
        image: dict[str, str] | None = None,
    ) -> None:
        self.fates = fates
        self.ray = ray
        self.volumes = volumes or {}
        self.image = image or {}
        self.lock = threading.RLock()
        self.rayjobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[tuple[float, str]]] = {}
        self.requests: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.knows_kuberay = True
        self.token: str | None = None
        # method → how its next calls go wrong: "lost" acts and gives no answer; a number is a
        # status without acting.
        self.faults: dict[str, list[str | int]] = {}
        self.is_down = False
        self._version = 0
        self._ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        ]

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self, path: Path, token: str = "secret") -> Path:
        """Write the credentials of a user to a file, as KUBECONFIG names one."""
        said = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        path.write_text(yaml.safe_dump(said))
        return path

    def __enter__(self) -> FakeKubernetes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._ends.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """No answer to anybody."""
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False

    def put(self, rayjob: dict[str, Any], *, operated: bool = True) -> dict[str, Any]:
        """Create a RayJob, as ``kubectl apply`` does."""
        with self.lock:
            made = copy.deepcopy(rayjob)
            about = made.setdefault("metadata", {})
            about |= {
                "namespace": NAMESPACE,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": _now(),
                "generation": 1,
            }
            made["status"] = {}
            self.rayjobs[about["name"]] = made
            self._touch(made)
        if operated and not made["spec"].get("suspend"):
            thread = threading.Thread(target=self._operate, args=(about["name"], about["uid"]))
            thread.daemon = True
            thread.start()
        return made

    def say(self, name: str, **status: object) -> None:
        """Change a RayJob's status."""
        with self.lock:
            if name in self.rayjobs:
                self.rayjobs[name]["status"] |= status
                self._touch(self.rayjobs[name])

    def ray_containers(self, name: str) -> list[dict[str, Any]]:
        """Ray's containers of a RayJob, to be changed."""
        cluster = self.rayjobs[name]["spec"]["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        return [group["template"]["spec"]["containers"][0] for group in groups]

    def remove(self, name: str) -> None:
        """Take a RayJob away with all that it owns, at once."""
        with self.lock:
            self.rayjobs.pop(name, None)
            for pod in [p for p, o in self.pods.items() if o["metadata"]["owner"] == name]:
                del self.pods[pod]

    def state(self, name: str) -> str:
        """A RayJob's deployment status; ``gone`` if there is none."""
        with self.lock:
            found = self.rayjobs.get(name)
            return "gone" if found is None else found["status"].get("jobDeploymentStatus", "")

    def _touch(self, rayjob: dict[str, Any]) -> None:
        self._version += 1
        rayjob["metadata"]["resourceVersion"] = str(self._version)

    def _operate(self, name: str, uid: str) -> None:
        """Bring one RayJob through its states."""
        failed = 0
        limit = self.rayjobs[name]["spec"].get("backoffLimit", 0)
        while self._is_wanted(name, uid):
            attempt = self.fates.pop(0) if self.fates else Attempt()
            cluster = f"{name}-{failed}"
            self.say(name, jobDeploymentStatus="Initializing", rayClusterName=cluster, reason="")
            if attempt.pod:
                self._add_pod(f"{cluster}-worker", name, {"ray.io/cluster": cluster}, attempt.pod)
            if attempt.does == "wait":
                self._until_deleted(name, uid)
                return
            self._pause()
            self.say(name, jobDeploymentStatus="Running", jobStatus="PENDING")
            submitter = f"{name}-{failed}-submitter"
            self._add_pod(submitter, name, {"job-name": name}, {"phase": "Running"})
            self.say(name, jobStatus="RUNNING")
            code = self._do(attempt, name, uid, submitter)
            if code is None:
                return
            if code in (0, "stop"):
                word = "SUCCEEDED" if code == 0 else "STOPPED"
                self.say(name, jobDeploymentStatus="Complete", jobStatus=word, succeeded=1)
                break
            failed += 1
            again = failed <= limit and attempt.reason != "DeadlineExceeded"
            self.say(
                name,
                jobDeploymentStatus="Retrying" if again else "Failed",
                jobStatus="FAILED",
                reason=attempt.reason,
                message=attempt.message or f"entrypoint command failed with exit code {code}",
                failed=failed,
            )
            if not again:
                break
            self._pause()
            with self.lock:
                self.pods.pop(submitter, None)
        if not self._is_wanted(name, uid):
            self._vanish(name, uid)

    def _do(self, attempt: Attempt, name: str, uid: str, submitter: str) -> int | str | None:
        """Do what an attempt does; None if the RayJob was deleted meanwhile."""
        for line in attempt.lines:
            self._print(submitter, line)
            self._pause()
        if attempt.does == "hang":
            self._until_deleted(name, uid)
            return None
        if attempt.does == "run":
            return self._run(name, uid, submitter)
        return {"succeed": 0, "fail": 1, "stop": "stop"}[attempt.does]

    def _run(self, name: str, uid: str, submitter: str) -> int | None:
        """Submit the entrypoint to Ray's Jobs API, as KubeRay does, and follow it."""
        from ray.job_submission import JobSubmissionClient

        assert self.ray is not None, "a cluster to run it on is given"
        spec = self.rayjobs[name]["spec"]
        head = self.ray_containers(name)[0]
        volumes = {
            mount["mountPath"]: str(self.volumes[mount["name"]])
            for mount in head["volumeMounts"]
            if mount["name"] in self.volumes
        }

        def here(text: str) -> str:
            # Pods see a volume where they mount it, this machine sees its folder.
            for mount, folder in volumes.items():
                if text == mount or text.startswith(f"{mount}/"):
                    return folder + text[len(mount) :]
            return text

        python, *words = map(here, shlex.split(spec["entrypoint"]))
        assert python == "python"
        variables = {entry["name"]: here(entry["value"]) for entry in head["env"]}
        token = self.ray.environment["RAY_AUTH_TOKEN"]
        client = JobSubmissionClient(
            self.ray.jobs_address, headers={"Authorization": f"Bearer {token}"}
        )
        job = client.submit_job(
            entrypoint=shlex.join([sys.executable, *words]),
            submission_id=uid,
            runtime_env={"env_vars": {**variables, **self.image}},
        )
        told = 0
        while True:
            status = client.get_job_status(job)
            lines = client.get_job_logs(job).splitlines()
            for line in lines[told:]:
                self._print(submitter, line)
            told = len(lines)
            if status.is_terminal():
                return 0 if status.value == "SUCCEEDED" else 1
            if not self._is_wanted(name, uid):
                client.stop_job(job)
                while not client.get_job_status(job).is_terminal():
                    time.sleep(_TICK)
                self._vanish(name, uid)
                return None
            time.sleep(0.2)

    def _until_deleted(self, name: str, uid: str) -> None:
        while self._is_wanted(name, uid) and not self._ends.is_set():
            time.sleep(_TICK)
        self._vanish(name, uid)

    def _is_wanted(self, name: str, uid: str) -> bool:
        with self.lock:
            found = self.rayjobs.get(name)
            return (
                found is not None
                and found["metadata"]["uid"] == uid
                and "deletionTimestamp" not in found["metadata"]
            )

    def _vanish(self, name: str, uid: str) -> None:
        with self.lock:
            found = self.rayjobs.get(name)
            if found is not None and found["metadata"]["uid"] == uid:
                self.remove(name)

    def _pause(self) -> None:
        self._ends.wait(2 * _TICK)

    def _add_pod(
        self, name: str, owner: str, labels: dict[str, str], status: dict[str, Any]
    ) -> None:
        with self.lock:
            self.pods[name] = {
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": labels,
                    "owner": owner,
                    "creationTimestamp": _now(),
                },
                "status": status,
            }
            self.logs[name] = []

    def _print(self, pod: str, line: str) -> None:
        with self.lock:
            self.logs[pod].append((time.time(), line))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _time_of(at: float) -> str:
    whole = datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "")
    # As Go writes nanoseconds: without the zeros at the end.
    return f"{whole}.{int(at % 1 * 1e9):09d}".rstrip("0").rstrip(".") + "Z"


def _chosen(labels: dict[str, str] | None, selector: str) -> bool:
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
    return all((labels or {}).get(name) == value for name, value in wanted.items())


def _handler(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

        def _serve(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if fake.is_down:
                self.close_connection = True
                return
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            fake.requests.append(f"{method} {url.path}")
            faults = fake.faults.get(method)
            fault = faults.pop(0) if faults else None
            if isinstance(fault, int):
                self._refuse(fault, "it is told to")
                return
            if fake.token and self.headers.get("Authorization") != f"Bearer {fake.token}":
                self._refuse(401, "Unauthorized")
                return
            with fake.lock:
                status, answer = self._answer(method, url.path, query, body)
            if fault == "lost":
                self.close_connection = True
                return
            self._send(status, answer)

        def _answer(
            self, method: str, path: str, query: dict[str, str], body: dict[str, Any]
        ) -> tuple[int, Any]:
            if (found := _PODS.fullmatch(path)) and method == "GET":
                return self._pods(found["name"], query)
            found = _RAYJOBS.fullmatch(path) if fake.knows_kuberay else None
            if found is None:
                return 404, "the server could not find the requested resource"
            name = found["name"]
            if method == "POST":
                return self._create(found["namespace"], body)
            if name is None:
                items = [
                    rayjob
                    for rayjob in fake.rayjobs.values()
                    if _chosen(rayjob["metadata"].get("labels"), query.get("labelSelector", ""))
                ]
                return 200, {"apiVersion": "ray.io/v1", "kind": "RayJobList", "items": items}
            if name not in fake.rayjobs:
                return 404, f'rayjobs.ray.io "{name}" not found'
            if method == "DELETE":
                return self._delete(name, body)
            return 200, fake.rayjobs[name]

        def _create(self, namespace: str, body: dict[str, Any]) -> tuple[int, Any]:
            name = body["metadata"]["name"]
            if namespace != NAMESPACE:
                return 404, f'namespaces "{namespace}" not found'
            if name in fake.rayjobs:
                return 409, f'rayjobs.ray.io "{name}" already exists'
            if not isinstance(body["spec"].get("rayClusterSpec"), dict):
                return 422, f'RayJob.ray.io "{name}" is invalid: spec.rayClusterSpec'
            made = fake.put(body)
            fake.created.append(body)
            return 201, made

        def _delete(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
            rayjob = fake.rayjobs[name]
            wanted = (body.get("preconditions") or {}).get("uid")
            if wanted not in (None, rayjob["metadata"]["uid"]):
                return 409, f"Precondition failed: UID in precondition: {wanted}"
            fake.deleted.append(name)
            # The finalizers: it is there until its pods have ended.
            rayjob["metadata"]["deletionTimestamp"] = _now()
            over = rayjob["status"].get("jobDeploymentStatus") in ("Complete", "Failed")
            if over or rayjob["spec"].get("suspend"):
                fake.remove(name)
            return 200, rayjob

        def _pods(self, name: str | None, query: dict[str, str]) -> tuple[int, Any]:
            if name is None:
                items = [
                    pod
                    for pod in fake.pods.values()
                    if _chosen(pod["metadata"]["labels"], query.get("labelSelector", ""))
                ]
                return 200, {"apiVersion": "v1", "kind": "PodList", "items": items}
            if name not in fake.pods:
                return 404, f'pods "{name}" not found'
            since = time.time() - float(query.get("sinceSeconds", 1e9))
            lines = [
                f"{_time_of(at)} {line}\n" for at, line in fake.logs[name] if int(at) >= int(since)
            ]
            return 200, "".join(lines)

        def _refuse(self, status: int, why: str) -> None:
            self._send(status, why)

        def _send(self, status: int, answer: Any) -> None:
            if status >= 400:
                answer = {"kind": "Status", "status": "Failure", "message": answer, "code": status}
            is_text = isinstance(answer, str)
            data = answer.encode() if is_text else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
