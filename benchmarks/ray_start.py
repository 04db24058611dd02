"""How soon a private Ray cluster's Jobs API answers, and ends a first job, by how it is started.

``python benchmarks/ray_start.py --rounds 3`` starts each variant in turn, submits ``true`` as soon
as the Jobs API answers, stops the cluster, and prints medians: seconds until the API answers, until
the job has ended, until all processes are gone, and the processor seconds that it took.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

HOOK = "platemill.launch.keeper.without_client_server"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LEAN = ["--no-monitor", "--include-log-monitor=false"]
NO_IDLE_WORKERS = {
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_enable_metrics_collection": "0",
}
FEW_MODULES = {"RAY_START_HOOK": "ray_start.only_two_modules", "PYTHONPATH": "benchmarks"}
INIT = """
import sys, time, ray
ray.init(address="local", include_dashboard=True, dashboard_host="127.0.0.1",
         dashboard_port=int(sys.argv[1]), _temp_dir=sys.argv[2], num_cpus=4,
         _node_ip_address="127.0.0.1", object_store_memory=200_000_000, log_to_driver=False)
time.sleep(1000)
"""
# name: (environment, options of `ray start`, or None for ray.init in a process that stays)
VARIANTS: dict[str, tuple[dict[str, str], list[str] | None]] = {
    "ray start, as it comes": ({}, []),
    "on loopback": (LOOPBACK, []),
    "without monitors and client server": ({**LOOPBACK, "RAY_START_HOOK": HOOK}, LEAN),
    "and without idle workers (ours)": (
        {**LOOPBACK, **NO_IDLE_WORKERS, "RAY_START_HOOK": HOOK},
        LEAN,
    ),
    "and with two modules of the dashboard only": (
        {**LOOPBACK, **NO_IDLE_WORKERS, **FEW_MODULES},
        LEAN,
    ),
    "ray.init in a process that stays": ({**LOOPBACK, **NO_IDLE_WORKERS}, None),
}


def only_two_modules(params: Any, head: bool) -> None:
    """A start hook that also cuts the dashboard down, by replacing a private function of Ray.

    The jobs module alone does not do: without the nodes module it finds no node to run a job on.
    """
    from ray._private import services

    from platemill.launch.keeper import without_client_server

    without_client_server(params, head)
    start = services.start_ray_process

    def start_fewer(command: list[str], kind: str, *others: Any, **named: Any) -> Any:
        if kind == "dashboard":
            command = [*command, "--modules-to-load=JobHead,NodeHead"]
        return start(command, kind, *others, **named)

    services.start_ray_process = start_fewer


class Jobs:
    """The Jobs API, over plain HTTP."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.suppress(OSError, http.client.HTTPException):
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                found = json.loads(text)
                return found if isinstance(found, dict) else {"list": found}
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(condition: Any, limit: float = 120) -> Any:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise SystemExit("it took too long")


def measure(environment: dict[str, str], options: list[str] | None) -> tuple[float, ...]:
    folder = tempfile.mkdtemp(prefix="mill-", dir="/tmp")
    token, port = secrets.token_hex(32), free_port()
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", INIT, str(port), folder]
    if options is not None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--temp-dir={folder}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--num-cpus=4"]
        command += ["--include-dashboard=true", "--object-store-memory=200000000", *options]
    start = time.monotonic()
    with (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **auth, **environment, "DASHBOARD_METRIC_PORT": str(free_port())},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        return follow(process, Jobs(port, token), start)
    finally:
        # Ray's processes end with the one that started them.
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def follow(process: subprocess.Popen[bytes], jobs: Jobs, start: float) -> tuple[float, ...]:
    wait(lambda: jobs.ask("GET", "/api/jobs/"))
    answers = time.monotonic() - start
    wait(lambda: jobs.ask("POST", "/api/jobs/", {"entrypoint": "true", "submission_id": "first"}))
    wait(lambda: (jobs.ask("GET", "/api/jobs/first") or {}).get("status") == "SUCCEEDED")
    ended = time.monotonic() - start
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    spent = 0.0
    for member in family:
        with contextlib.suppress(psutil.Error):
            spent += sum(member.cpu_times()[:2])
    start = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    wait(lambda: not any(alive(member) for member in family))
    gone = time.monotonic() - start
    return answers, ended, gone, spent


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="variants whose name holds this")
    given = parser.parse_args()
    chosen = {name: how for name, how in VARIANTS.items() if given.only in name}
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in chosen}
    for _ in range(given.rounds):
        for name, (environment, options) in chosen.items():
            found[name].append(measure(environment, options))
    print(f"load {os.getloadavg()[0]:.1f}; seconds: API answers, job ended, gone, processor")
    for name, times in found.items():
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        print(f"{name:45}", *(f"{value:6.1f}" for value in medians))


if __name__ == "__main__":
    main()
