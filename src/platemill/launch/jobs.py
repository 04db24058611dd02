"""Submit a job through the Ray Jobs API, follow it to its end, and raise what it ended with."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from platemill.errors import (
    RetryableError,
    ServerUnavailable,
    ShardsIncomplete,
)
from platemill.launch.records import JobProgress, clear_records, read_exit, read_progress

__all__ = ["last_lines", "run_job", "terminated_as_interrupt"]

_LOG = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_LOG_SECONDS = 15.0
_ASK_SECONDS = 2.0
_SUBMIT_SECONDS = 90.0
_STOP_SECONDS = 15.0
_LOST_SECONDS = 60.0
# To connect, and between two bytes of an answer.
_ANSWER_SECONDS = (10.0, 30.0)
_LAST_LINES = 12
# Connecting to the cluster is the client's business; the job's processes know their own.
_CONNECTION_VARIABLES = frozenset(
    {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
)


def run_job(
    address: str,
    environment: Mapping[str, str],
    entrypoint: str,
    submission_id: str,
    *,
    log_path: Path,
    on_progress: Callable[[JobProgress], None] | None = None,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Run a job and return when it has succeeded.

    Args:
        address: base URL of the Jobs API.
        environment: the job's variables. ``RAY_AUTH_TOKEN`` opens the Jobs API and, like the
            other variables that say how to connect, is not handed to the job.
        entrypoint: a shell command.
        submission_id: the job's name. If a job of that name exists, it is stopped unless it has
            ended, and ``-2``, ``-3`` … is appended.
        log_path: where the driver's log is copied to; ``progress.json`` and ``job.json``, which
            the job writes, are looked for beside it.
        on_progress: called with the job's progress whenever it changes.
        poll_seconds: how often to look.

    Raises:
        PlatemillError: whatever ``job.json`` says the job ended with.
        ShardsIncomplete: the job ended without saying why.
        ServerUnavailable: the Jobs API did not answer.
    """
    folder = log_path.parent
    folder.mkdir(parents=True, exist_ok=True)
    clear_records(folder)
    client = _connect(address, environment.get("RAY_AUTH_TOKEN"))
    variables = {k: v for k, v in environment.items() if k not in _CONNECTION_VARIABLES}
    with terminated_as_interrupt():
        try:
            name = _submit(client, entrypoint, submission_id, {"env_vars": variables})
        except OSError as error:
            raise _no_answer(address, error) from error
        _LOG.info("job %s was submitted to %s", name, address)
        try:
            message = _follow(client, name, folder, log_path, on_progress, poll_seconds)
        except BaseException:
            _stop(client, name)
            raise
        finally:
            _copy_log(client, name, log_path)
    _raise_failure(name, message, folder, log_path)


def _connect(address: str, token: str | None) -> Any:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        """Ray's own waits for an answer for ever."""

        def _do_request(self, method: str, endpoint: str, **given: Any) -> Any:
            return super()._do_request(method, endpoint, timeout=_ANSWER_SECONDS, **given)

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return Client(address, headers=headers)
    except (ConnectionError, OSError, RuntimeError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> ServerUnavailable:
    return ServerUnavailable(
        f"the Ray Jobs API at {address} does not answer: {_first_line(error)}. Does the cluster "
        "run, and are PLATEMILL_RAY_ADDRESS and its token (RAY_AUTH_TOKEN) right? Then run again: "
        "what was recognised is kept"
    )


def _submit(client: Any, entrypoint: str, wanted: str, runtime_env: dict[str, Any]) -> str:
    """Submit under the wanted name or, where jobs of it exist, the next free one."""
    deadline = time.monotonic() + _SUBMIT_SECONDS
    name, attempt = wanted, 1
    while True:
        with contextlib.suppress(RuntimeError):  # it says so when there is no such job
            if not client.get_job_status(name).is_terminal():
                # A run before was cut off and left it. Two would recognise the same shards.
                _stop(client, name)
            attempt += 1
            name = f"{wanted}-{attempt}"
            continue
        try:
            return str(
                client.submit_job(
                    entrypoint=entrypoint, submission_id=name, runtime_env=runtime_env
                )
            )
        except (OSError, RuntimeError) as error:
            # The node's agent starts after the API; until then a submission is refused.
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Ray refused the job {name}: {_first_line(error)}. Look at the cluster (ray "
                    "status) and run again: what was recognised is kept"
                ) from error
            time.sleep(1.0)


def _follow(
    client: Any,
    name: str,
    folder: Path,
    log_path: Path,
    on_progress: Callable[[JobProgress], None] | None,
    poll_seconds: float,
) -> str | None:
    """Wait for the job's end. Return None if it succeeded, else what Ray says about it."""
    shown: JobProgress | None = None
    copied = time.monotonic()
    asked = 0.0
    # Since when it does not answer; from a failure on, for the machine may have slept before it.
    silent: float | None = None
    while True:
        info = None
        # Answering costs the cluster a share of a core; a job that is over says so in a file.
        is_due = time.monotonic() - asked >= _ASK_SECONDS or read_exit(folder)[0]
        try:
            if is_due:
                asked = time.monotonic()
                info = client.get_job_info(name)
                silent = None
        except (OSError, RuntimeError) as error:
            silent = silent or time.monotonic()
            if time.monotonic() - silent > _LOST_SECONDS:
                raise ServerUnavailable(
                    f"the Ray Jobs API has not answered for {_LOST_SECONDS:g} s while job {name} "
                    f"was running: {_first_line(error)}. Run again when it does: what was "
                    "recognised is kept"
                ) from error
        progress = read_progress(folder)
        if on_progress is not None and progress is not None and progress != shown:
            on_progress(progress)
            shown = progress
        if info is not None and info.status.is_terminal():
            succeeded = info.status.value == "SUCCEEDED"
            return None if succeeded else f"{info.status.value}: {info.message}"
        if time.monotonic() - copied > _LOG_SECONDS:
            _copy_log(client, name, log_path)
            copied = time.monotonic()
        time.sleep(poll_seconds)


def _raise_failure(name: str, message: str | None, folder: Path, log_path: Path) -> None:
    recorded, error = read_exit(folder)
    if error is not None:
        raise error
    if message is None or recorded:
        # It said that all is well; what became of its process afterwards is no matter.
        return
    if message.startswith("STOPPED"):
        raise RetryableError(
            f"job {name} was stopped from outside; run again, what was recognised is kept"
        )
    raise ShardsIncomplete(
        f"job {name} ended without saying why ({message.strip()}). Run again: what was recognised "
        f"is kept. Its log, {log_path}, ends with:\n{last_lines(log_path)}"
    )


def _stop(client: Any, name: str) -> None:
    """Stop a job and wait until it has ended; a cluster that does not answer is left alone."""
    deadline = time.monotonic() + _STOP_SECONDS
    with contextlib.suppress(OSError, RuntimeError):
        client.stop_job(name)
        while not client.get_job_status(name).is_terminal() and time.monotonic() < deadline:
            time.sleep(0.2)


def _copy_log(client: Any, name: str, log_path: Path) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        log_path.write_text(client.get_job_logs(name))


def last_lines(path: Path) -> str:
    """The end of a log, as far as a message has room for it."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").rstrip().split("\n")[-_LAST_LINES:])
    return "(no log)"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300].rstrip(".")


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise, so that the job is stopped; only where nobody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
