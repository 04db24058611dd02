"""A private Ray cluster on loopback, for the length of a run.

It is ``ray start --head`` with ports, folder and token of its own, held by a keeper process (see
``platemill.launch.keeper``). It ends with the process that started it, even if that is killed, and
never touches another Ray on the machine.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.launch.clusters.base import Job
from platemill.launch.jobs import run_job
from platemill.launch.keeper import end_processes
from platemill.launch.records import JobProgress
from platemill.settings import QUIET_ENVIRONMENT, Settings

__all__ = ["PrivateCluster", "private_cluster"]

_LOOPBACK = "127.0.0.1"
# Rows travel through files; Ray's store holds small messages only.
_OBJECT_STORE_BYTES = 200_000_000
# A unix socket's path ends at 107 bytes; Ray puts up to 75 behind its folder.
_LONGEST_FOLDER = 32
_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0
_ATTEMPTS = 2


class PrivateCluster:
    """A Ray head node of our own, with a Jobs API that answers.

    Args:
        workdir: the run's folder; logs go to ``workdir/ray``.
        start_seconds: how long it may take until the Jobs API answers.
        num_cpus: logical CPUs that Ray hands out; default: the machine's, but at least 4.
        cwd: working directory of the cluster and of its jobs; default: the current one.
    """

    def __init__(
        self,
        workdir: Path,
        start_seconds: float,
        num_cpus: int | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._logs = workdir / "ray"
        self._start_seconds = start_seconds
        self._num_cpus = num_cpus or max(4, os.cpu_count() or 1)
        self._cwd = cwd
        self._token = secrets.token_hex(32)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._gcs = 0
        self._dashboard = 0

    @property
    def jobs_address(self) -> str:
        """Base URL of the Jobs API."""
        return f"http://{_LOOPBACK}:{self._dashboard}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that a process needs to use the cluster."""
        return {
            "RAY_ADDRESS": f"{_LOOPBACK}:{self._gcs}",
            "RAY_API_SERVER_ADDRESS": self.jobs_address,
            **self._common_environment(),
        }

    @property
    def keeper_pid(self) -> int | None:
        """Process id of the keeper while the cluster runs."""
        return None if self._keeper is None else self._keeper.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the cluster and wait until its Jobs API answers.

        Raises:
            ServerUnavailable: it ended or did not answer in time.
            ConfigurationError: there is no folder for it.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the cluster without waiting, so that other work can be done meanwhile."""
        if self._keeper is not None:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        self._folder = _short_folder()
        self._gcs, self._dashboard, metrics = _free_ports(3)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment |= QUIET_ENVIRONMENT | self._common_environment()
        environment |= self._node_environment() | {"DASHBOARD_METRIC_PORT": str(metrics)}
        keeper = [sys.executable, "-m", "platemill.launch.keeper"]
        keeper += ["--folder", str(self._folder), "--logs", str(self._logs), "--"]
        self._keeper = subprocess.Popen(
            keeper + self._command(),
            cwd=self._cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait until the Jobs API answers.

        Raises:
            ServerUnavailable: the cluster ended or did not answer in time.
        """
        deadline = time.monotonic() + self._start_seconds
        attempts = 1
        while not self._answers():
            if self._keeper is None or self._keeper.poll() is not None:
                # Most likely another process took one of the ports.
                self.stop()
                if attempts >= _ATTEMPTS:
                    raise ServerUnavailable(
                        f"the private Ray cluster ended while it started; its log, "
                        f"{self._logs / 'start.log'}, ends with: {self._last_words()}. Run again "
                        "when that is mended: what was recognised is kept"
                    )
                attempts += 1
                self.launch()
            if time.monotonic() > deadline:
                self.stop()
                raise ServerUnavailable(
                    f"the private Ray cluster did not answer within {self._start_seconds:g} s; "
                    f"its logs are in {self._logs}. On a slow machine raise "
                    "PLATEMILL_RAY_START_SECONDS, then run again: what was recognised is kept"
                )
            time.sleep(_POLL_SECONDS)

    def run(self, job: Job, on_progress: Callable[[JobProgress], None] | None = None) -> None:
        """Run a job; see `Cluster.run`."""
        run_job(
            self.jobs_address,
            {**job.variables, **self.environment},
            shlex.join([sys.executable, *job.command]),
            job.name,
            log_path=job.log,
            on_progress=on_progress,
        )

    def stop(self) -> None:
        """End the cluster's processes, all of them and no others. May be called twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        known = _descendants(keeper.pid)
        assert keeper.stdin is not None
        keeper.stdin.close()
        try:
            keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        # Only has work to do if the keeper was killed.
        known += [p for p in _strangers(self._folder) if p not in known]
        end_processes(lambda: [p for p in known if _alive(p)], 2.0, lambda: None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _node_environment(self) -> dict[str, str]:
        """Variables of the cluster's own processes, beside the common ones."""
        return {
            "RAY_START_HOOK": "platemill.launch.keeper.without_client_server",
            # A job's processes have variables of their own, so idle ones are never used.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_enable_metrics_collection": "0",
            # Nobody looks at its dashboard, which would look at every process twice a second.
            "REPORTER_UPDATE_INTERVAL_MS": "600000",
            "METRICS_RECORD_INTERVAL_S": "600",
            # Jobs are stopped before the cluster is; there is nothing to drain.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "MILL_CLUSTER_FOLDER": str(self._folder),
            # A job that others submit runs `python`: this one.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        }

    def _common_environment(self) -> dict[str, str]:
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray turns 127.0.0.1 into the machine's outer address unless clusters are off.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            f"--node-ip-address={_LOOPBACK}",
            f"--port={self._gcs}",
            "--include-dashboard=true",
            f"--dashboard-host={_LOOPBACK}",
            f"--dashboard-port={self._dashboard}",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--dashboard-agent-listen-port=0",
            f"--temp-dir={self._folder}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            f"--num-cpus={self._num_cpus}",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--no-monitor",
        ]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(_LOOPBACK, self._dashboard, timeout=5)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            connection.request("GET", "/api/jobs/", headers=headers)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._logs / "start.log").read_text(errors="replace").split("\n")
            return " | ".join(line.strip() for line in lines[-8:] if line.strip())
        return "nothing"


def private_cluster(settings: Settings, run_id: str, jobs: int = 1) -> PrivateCluster:
    """The private cluster of a run, not started yet, with room for so many jobs at once."""
    # Besides its workers, each job's driver has its place.
    cpus = max(4, os.cpu_count() or 1, jobs * (settings.workers + 1))
    folder = settings.runs / run_id
    return PrivateCluster(folder, settings.ray_start_seconds, cpus, cwd=settings.project)


def _short_folder() -> Path:
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for parent in candidates:
        if len(os.fsencode(parent)) + len("/mill-12345678") <= _LONGEST_FOLDER:
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="mill-", dir=parent))
    raise ConfigurationError(
        f"no folder for Ray's sockets: {', '.join(map(str, candidates))} are too long or cannot "
        "be written to. Set TMPDIR to a writable folder with a path of at most "
        f"{_LONGEST_FOLDER - len('/mill-12345678')} characters"
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((_LOOPBACK, 0))
            found.append(int(probe.getsockname()[1]))
        return found


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _strangers(folder: Path) -> Iterator[psutil.Process]:
    """Processes of this user that hold files in the cluster's folder or name it."""
    needle = str(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.uids().real != os.getuid():
                continue
            named = any(needle in part for part in process.cmdline())
            if (
                named
                or process.environ().get("MILL_CLUSTER_FOLDER") == needle
                or any(opened.path.startswith(needle) for opened in process.open_files())
            ):
                yield process
