"""A Ray cluster that KubeRay makes for one job: from zero nodes, and back to none.

The run's RayJob has a name of its own, made from the run's. So a run that goes on after a crash
finds what it left: it follows the job if that still does the same work, and deletes it otherwise.
Jobs of the same home whose flow is dead are deleted, too. What nobody can delete any more ends by
itself: by the job's own look at its flow, by ``activeDeadlineSeconds``, and its nodes by
``ttlSecondsAfterFinished``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import yaml

from platemill.errors import (
    ConfigurationError,
    LeaseLost,
    PlatemillError,
    RetryableError,
    ServerUnavailable,
    ShardsIncomplete,
)
from platemill.launch.clusters.base import Job
from platemill.launch.clusters.kubernetes_api import (
    Conflict,
    KubernetesApi,
    NotFound,
    Unanswered,
    patiently,
)
from platemill.launch.clusters.pod_log import PodLog, why_pods_wait
from platemill.launch.clusters.rayjob import (
    OURS,
    RayJobState,
    capacity,
    check_template,
    home_labels,
    make_rayjob,
    rayjob_name,
)
from platemill.launch.jobs import last_lines, terminated_as_interrupt
from platemill.launch.records import JobProgress, clear_records, read_exit, read_progress
from platemill.settings import Settings

__all__ = ["KubeRayCluster"]

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_ASK_SECONDS = 2.0
_LONGEST_PAUSE = 20.0
_LOST_SECONDS = 600.0
_REFUSED_SECONDS = 60.0
_PODS_SECONDS = 15.0
_STOP_SECONDS = 60.0
_GONE_SECONDS = 600.0
# A file that another node wrote may be seen late.
_FILES_SECONDS = 15.0
# The operator sees the end of a job later than the job itself.
_OVER_SECONDS = 120.0


class KubeRayCluster:
    """A RayJob in Kubernetes.

    Args:
        settings: the deployment's settings; ``kuberay_template`` is given.
        run_id: the run that it is for.
        api: default: as KUBECONFIG or the pod says.
        ask_seconds: how often to ask how the job is.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        api: KubernetesApi | None = None,
        *,
        ask_seconds: float = _ASK_SECONDS,
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._given = api
        self._ask_seconds = ask_seconds
        self._api: KubernetesApi | None = None
        self._template: dict[str, Any] = {}
        self._left: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    def launch(self) -> None:
        """See to it that a job can be made later: credentials, KubeRay, the template.

        Nothing is started: KubeRay makes cluster and job in one.

        Raises:
            ConfigurationError: one of them is not as it must be.
            ServerUnavailable: the Kubernetes API does not answer.
        """
        if self._api is not None:
            return
        settings = self._settings
        api = self._given or KubernetesApi.connect(settings.kuberay_namespace)
        patiently(lambda: api.rayjobs(OURS), _STOP_SECONDS)
        self._template = template = self._read_template(api)
        check_template(template, self._source)
        need = {"CPU": 1.0, **settings.worker_resources}
        if (room := capacity(template, need)) < settings.workers:
            raise ConfigurationError(
                f"PLATEMILL_WORKERS={settings.workers}, each of which takes {need}, but the worker "
                f"groups of {self._source} hold {room} at most: raise maxReplicas or what a pod "
                "tells Ray to have (rayStartParams), or ask for fewer workers"
            )
        self._api = api

    def run(self, job: Job, on_progress: Callable[[JobProgress], None] | None = None) -> None:
        """Run a job; see `Cluster.run`.

        Raises:
            RetryableError: besides, the RayJob was deleted, or reached its deadline.
        """
        self.launch()
        job.folder.mkdir(parents=True, exist_ok=True)
        with terminated_as_interrupt():
            try:
                started = self._begin(job)
                self._end_the_dead()
                self._follow(started, job, on_progress)
            finally:
                self.stop()

    def stop(self) -> None:
        """Delete the RayJob, its pods with it. An API that does not answer is left alone."""
        left, self._left = self._left, None
        if left is None or self._api is None:
            return
        name, work = left
        try:
            state = patiently(lambda: self._state(name), _STOP_SECONDS)
            if state is None or state.work != work:
                return
            self._delete(name, state.uid)
        except PlatemillError as error:
            _LOG.warning(
                "RayJob %s could not be deleted: %s. Delete it by hand: kubectl --namespace %s "
                "delete rayjob %s; else its nodes go at the latest when its deadline is over",
                *(name, error, self._settings.kuberay_namespace, name),
            )
            return
        if not self._is_gone(name, state.uid, _STOP_SECONDS):
            _LOG.warning("RayJob %s is deleted, but its pods are still ending", name)

    @property
    def _source(self) -> str:
        return f"the template {self._settings.kuberay_template}"

    def _read_template(self, api: KubernetesApi) -> dict[str, Any]:
        given = self._settings.kuberay_template
        if given is None:
            raise ConfigurationError("PLATEMILL_KUBERAY_TEMPLATE names the RayJob to start from")
        if "/" not in given:
            try:
                return patiently(lambda: api.rayjob(given), _STOP_SECONDS)
            except NotFound:
                raise ConfigurationError(
                    f"there is no RayJob {given} in namespace {self._settings.kuberay_namespace} "
                    "to make the night's from: apply one (kubectl apply -k "
                    "infra/kubernetes/overlays/gpu), or give the path of a file in "
                    "PLATEMILL_KUBERAY_TEMPLATE"
                ) from None
        try:
            read = yaml.safe_load(Path(given).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigurationError(
                f"PLATEMILL_KUBERAY_TEMPLATE={given} cannot be read: {error}"
            ) from None
        return read if isinstance(read, dict) else {}

    def _begin(self, job: Job) -> RayJobState:
        """Create the RayJob, or take over the one of this name that does the same."""
        api = self._connected
        name = rayjob_name(job.name)
        manifest = make_rayjob(self._template, job, self._settings, self._source)
        wanted = RayJobState.of({**manifest, "metadata": {**manifest["metadata"], "uid": ""}})
        # From here on there may be something to delete, whatever answer comes.
        self._left = (name, wanted.work)
        while True:
            found = patiently(lambda: self._state(name), _LOST_SECONDS)
            if found is not None and _goes_on(found, wanted):
                _LOG.info("RayJob %s is there already and does this work; it is followed", name)
                return found
            if found is not None:
                _LOG.info("RayJob %s is of an attempt before and is deleted", name)
                self._delete(name, found.uid)
                if not self._is_gone(name, found.uid, _GONE_SECONDS):
                    raise ServerUnavailable(
                        f"RayJob {name} of an attempt before is deleted, but is still there after "
                        f"{_GONE_SECONDS:g} s. Does the KubeRay operator run? kubectl --namespace "
                        f"{self._settings.kuberay_namespace} describe rayjob {name}"
                    )
            clear_records(job.folder)
            job.log.unlink(missing_ok=True)
            try:
                created = patiently(lambda: api.create(manifest), _LOST_SECONDS)
            except Conflict:
                # Most likely ours, and the answer to its creation was lost.
                continue
            except NotFound as error:
                raise ConfigurationError(
                    f"{error}: is there a namespace {self._settings.kuberay_namespace}?"
                ) from None
            _LOG.info("RayJob %s was created", name)
            return RayJobState.of(created)

    def _follow(
        self, started: RayJobState, job: Job, on_progress: Callable[[JobProgress], None] | None
    ) -> None:
        """Return when the job has succeeded, and raise what it ended with otherwise."""
        name = rayjob_name(job.name)
        log = PodLog(self._connected, name, job.log)
        watch = _Watch(self._settings, name, self._ask_seconds)
        shown: JobProgress | None = None
        looked_at_pods = time.monotonic()
        try:
            while True:
                progress = read_progress(job.folder)
                if on_progress is not None and progress is not None and progress != shown:
                    on_progress(progress)
                    shown = progress
                if watch.is_due():
                    try:
                        watch.heard(self._state(name))
                    except (Unanswered, ConfigurationError) as error:
                        watch.heard_nothing(error)
                        continue
                    state = watch.state
                    if state is None or state.uid != started.uid or state.deleting:
                        self._settle_without(name, job)
                        return
                    if state.terminal:
                        log.copy()
                        self._settle(state, job)
                        return
                    if self._is_over(watch, job):
                        return
                    if state.deployment == "Retrying":
                        # Its pods, and their log, are about to be removed.
                        log.copy()
                    if time.monotonic() - looked_at_pods > _PODS_SECONDS:
                        looked_at_pods = time.monotonic()
                        log.copy()
                        watch.pods_wait(self._why_pods_wait(state))
                time.sleep(min(_LOOK_SECONDS, self._ask_seconds))
        finally:
            log.copy()

    def _is_over(self, watch: _Watch, job: Job) -> bool:
        """Whether the job said that it is done, though KubeRay has not seen it.

        Raises:
            PlatemillError: another attempt is useless; KubeRay would make one all the same.
        """
        recorded, error = read_exit(job.folder)
        if error is not None and _is_final(error):
            raise error
        # Else KubeRay's next attempt goes on with what is left.
        return watch.is_over(recorded and error is None)

    def _settle(self, state: RayJobState, job: Job) -> None:
        """Raise what a job ended with that will not change any more; nothing if all is well."""
        name = rayjob_name(job.name)
        if state.reason == "DeadlineExceeded":
            raise RetryableError(
                f"RayJob {name} ran into its activeDeadlineSeconds and was ended. Run again, what "
                f"was recognised is kept; for more time at once raise it in {self._source}"
            )
        recorded, error = _exit_of(job, wait=state.deployment == "Failed")
        if error is not None:
            raise error
        if recorded or state.job == "SUCCEEDED":
            return
        if state.job == "STOPPED":
            raise RetryableError(
                f"RayJob {name} was stopped from outside; run again, what was recognised is kept"
            )
        if state.reason == "AppFailed":
            raise ShardsIncomplete(
                f"RayJob {name} ended without saying why ({state.message or 'no message'}). If it "
                "did start, do its pods and this machine see the same home? Its log, "
                f"{job.log}, ends with:\n{last_lines(job.log)}"
            )
        raise ServerUnavailable(
            f"KubeRay gave RayJob {name} up ({state.reason or state.deployment}): "
            f"{state.message or 'no message'}. Run again, what was recognised is kept"
        )

    def _settle_without(self, name: str, job: Job) -> None:
        """The RayJob is gone although nobody here deleted it."""
        recorded, error = _exit_of(job, wait=False)
        if error is not None:
            raise error
        if not recorded:
            raise RetryableError(
                f"RayJob {name} was deleted from outside; run again, what was recognised is kept"
            )

    def _end_the_dead(self) -> None:
        """Delete RayJobs of this home whose flow is dead: nobody else will, and they cost."""
        from platemill.lake import open_lake
        from platemill.lake.lease import live_runs

        api = self._connected
        try:
            states = [
                (found["metadata"]["name"], RayJobState.of(found))
                for found in api.rayjobs(home_labels(self._settings, self._template))
            ]
            others = [
                (name, state)
                for name, state in states
                if state.run_id not in ("", self._run_id) and not state.deleting
            ]
            if not others:
                return
            alive = live_runs(open_lake(self._settings).storage)
            for name, state in others:
                if state.run_id not in alive:
                    _LOG.warning("RayJob %s is deleted: its run %s is dead", name, state.run_id)
                    api.delete(name, state.uid)
        except (Unanswered, PlatemillError) as error:
            _LOG.warning("RayJobs of dead runs could not be looked for: %s", error)

    def _why_pods_wait(self, state: RayJobState) -> str:
        if not state.cluster:
            return ""
        with contextlib.suppress(Unanswered, ConfigurationError):
            return why_pods_wait(self._connected.pods({"ray.io/cluster": state.cluster}))
        return ""

    def _state(self, name: str) -> RayJobState | None:
        try:
            return RayJobState.of(self._connected.rayjob(name))
        except NotFound:
            return None

    def _delete(self, name: str, uid: str) -> None:
        patiently(lambda: self._connected.delete(name, uid), _STOP_SECONDS)

    def _is_gone(self, name: str, uid: str, seconds: float) -> bool:
        """Wait until that RayJob and what it owned is gone; whether it is."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Unanswered):
                found = self._state(name)
                if found is None or found.uid != uid:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(min(_LOOK_SECONDS, self._ask_seconds))

    @property
    def _connected(self) -> KubernetesApi:
        assert self._api is not None, "launch() comes first"
        return self._api


class _Watch:
    """When to ask, how long nothing was heard, how long the cluster takes to start."""

    def __init__(self, settings: Settings, name: str, ask_seconds: float) -> None:
        self._settings = settings
        self._name = name
        self._ask_seconds = self._pause = ask_seconds
        self._heard = self._waiting = time.monotonic()
        self._asked = 0.0
        self._over: float | None = None
        self._pods = ""
        self.state: RayJobState | None = None

    def is_due(self) -> bool:
        """Whether it is time to ask."""
        due = time.monotonic() - self._asked >= self._pause
        if due:
            self._asked = time.monotonic()
        return due

    def heard(self, state: RayJobState | None) -> None:
        """Take an answer in.

        Raises:
            ServerUnavailable: the cluster takes too long to start.
        """
        self._heard, self._pause = time.monotonic(), self._ask_seconds
        if state is not None and (self.state is None or state.deployment != self.state.deployment):
            said = ": ".join(part for part in (state.reason, state.message) if part)
            _LOG.info(
                "RayJob %s is %s%s", self._name, state.deployment or "new", said and f" ({said})"
            )
        self.state = state
        if state is None or state.deployment not in ("", "Initializing"):
            self._waiting = time.monotonic()
        elif time.monotonic() - self._waiting > self._settings.kuberay_start_seconds:
            what = "KubeRay's operator has not seen it" if not state.deployment else "it starts"
            raise ServerUnavailable(
                f"RayJob {self._name} has no cluster after "
                f"{self._settings.kuberay_start_seconds:g} s: {self._pods or what}. "
                "PLATEMILL_KUBERAY_START_SECONDS gives it longer"
            )

    def heard_nothing(self, error: Exception) -> None:
        """Take in that there was no answer, or a refusal, which may be a passing one.

        Raises:
            ServerUnavailable: there was none for too long.
            ConfigurationError: it is refused again and again.
        """
        silent = time.monotonic() - self._heard
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if isinstance(error, PlatemillError) and silent > _REFUSED_SECONDS:
            raise error
        if silent > _LOST_SECONDS:
            raise ServerUnavailable(
                f"{error}, for {silent:.0f} s, while RayJob {self._name} was running. Run again: "
                "if it still does, it is followed on"
            ) from None
        _LOG.warning("%s; asking again in %g s", error, self._pause)

    def pods_wait(self, why: str) -> None:
        """Say once why pods wait."""
        if why and why != self._pods:
            _LOG.info("RayJob %s: %s", self._name, why)
        self._pods = why

    def is_over(self, said: bool) -> bool:
        """Whether the job has said for long enough that it succeeded."""
        if not said:
            self._over = None
            return False
        self._over = self._over or time.monotonic()
        return time.monotonic() - self._over > _OVER_SECONDS


def _goes_on(found: RayJobState, wanted: RayJobState) -> bool:
    """Whether a RayJob does the wanted work, or has just done it unseen."""
    well = not found.terminal or found.job == "SUCCEEDED"
    return found.work == wanted.work and well and not found.deleting


def _is_final(error: PlatemillError) -> bool:
    return isinstance(error, LeaseLost) or not isinstance(error, RetryableError)


def _exit_of(job: Job, *, wait: bool) -> tuple[bool, PlatemillError | None]:
    """What ``job.json`` says, which a shared volume may show a little late."""
    deadline = time.monotonic() + (_FILES_SECONDS if wait else 0.0)
    while True:
        recorded, error = read_exit(job.folder)
        if recorded or time.monotonic() >= deadline:
            return recorded, error
        time.sleep(_LOOK_SECONDS)
