"""Jobs through the real Jobs API of a real cluster."""

import contextlib
import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
import ray
from loopback_server import served

from platemill.errors import ConfigurationError, ServerUnavailable, ShardsIncomplete
from platemill.launch import jobs
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.jobs import run_job
from platemill.launch.records import JobProgress

pytestmark = pytest.mark.ray


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_a_job_runs_in_the_cluster_with_its_variables(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    code = (
        "import os, ray; ray.init(log_to_driver=False); "
        "print('told', ray.get(ray.remote(lambda: os.environ['A_WORD']).remote()))"
    )
    environment = {**cluster.environment, "A_WORD": "plates"}
    log = tmp_path / "recognize.log"
    run_job(cluster.jobs_address, environment, python(code), "variables", log_path=log)
    assert "told plates" in log.read_text()


def test_a_failed_job_raises_what_it_recorded(cluster: PrivateCluster, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from platemill.errors import ConfigurationError; "
        "from platemill.launch.records import write_exit; "
        f"write_exit(Path({str(tmp_path)!r}), ConfigurationError('no model there')); sys.exit(2)"
    )
    with pytest.raises(ConfigurationError, match="no model there"):
        run_job(
            cluster.jobs_address,
            cluster.environment,
            python(code),
            "recorded",
            log_path=tmp_path / "recognize.log",
        )


def test_a_job_that_dies_without_a_word_is_retryable_and_shows_its_log(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    with pytest.raises(ShardsIncomplete, match="last words"):
        run_job(
            cluster.jobs_address,
            cluster.environment,
            "echo last words; kill -9 $$",
            "wordless",
            log_path=tmp_path / "recognize.log",
        )


def test_a_name_that_was_used_gets_the_next_number(cluster: PrivateCluster, tmp_path: Path) -> None:
    log = tmp_path / "recognize.log"
    for expected in ("again", "again-2"):
        run_job(
            cluster.jobs_address,
            cluster.environment,
            "echo I am $RAY_JOB_CONFIG_JSON_ENV_VAR",
            "again",
            log_path=log,
        )
        assert f"Running entrypoint for job {expected}:" in log.read_text()


def test_progress_is_told_and_an_interrupt_stops_the_job(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    code = (
        "import time; from pathlib import Path; "
        "from platemill.launch.records import JobProgress, write_progress; "
        f"write_progress(Path({str(tmp_path)!r}), JobProgress(images_done=5, images_total=9)); "
        "print('4712'); time.sleep(4712)"
    )
    told = []

    def interrupt(progress: JobProgress) -> None:
        told.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(
            cluster.jobs_address,
            cluster.environment,
            python(code),
            "interrupted",
            log_path=tmp_path / "recognize.log",
            on_progress=interrupt,
        )
    assert told == [JobProgress(images_done=5, images_total=9)]
    assert cluster.keeper_pid is not None
    deadline = time.monotonic() + 15
    while True:
        family = psutil.Process(cluster.keeper_pid).children(recursive=True)
        if not any("sleep(4712)" in part for p in family for part in _command(p)):
            break
        assert time.monotonic() < deadline, "the job's process is still there"
        time.sleep(0.1)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_live_job_of_the_same_name_is_stopped_first(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    outcome: list[BaseException] = []

    def zombie() -> None:
        try:
            run_job(
                cluster.jobs_address,
                cluster.environment,
                "touch started; exec sleep 4713".replace("started", str(tmp_path / "started")),
                "zombie",
                log_path=tmp_path / "first" / "recognize.log",
            )
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=zombie)
    thread.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    log = tmp_path / "second" / "recognize.log"
    run_job(cluster.jobs_address, cluster.environment, "echo done", "zombie", log_path=log)
    thread.join(30)
    assert "stopped from outside" in str(outcome[0])


@pytest.mark.parametrize("trouble", ["refused", "silent", "silent later"])
def test_a_jobs_api_that_does_not_answer_is_said_so(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_ANSWER_SECONDS", (1.0, 1.0))
    with api_that_falls_silent(after=int(trouble == "silent later")) as address:
        address = "http://127.0.0.1:9" if trouble == "refused" else address
        said = f"the Ray Jobs API at {address} does not answer: .*PLATEMILL_RAY_ADDRESS.* run again"
        with pytest.raises(ServerUnavailable, match=said) as raised:
            run_job(address, {}, "true", "nobody", log_path=tmp_path / "recognize.log")
    assert raised.value.exit_code == 4


@contextlib.contextmanager
def api_that_falls_silent(after: int) -> Iterator[str]:
    """Takes every connection, and answers the first so many requests with Ray's version."""
    version = json.dumps({"ray_version": ray.__version__}).encode()
    left = [after]
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not left[0]:
                over.wait(60)
                return
            left[0] -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(version)))
            self.end_headers()
            self.wfile.write(version)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as url:
        try:
            yield url
        finally:
            over.set()
