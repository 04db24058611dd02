"""A Prefect server of one's own: a process on loopback with its files in one folder."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.processes import end_with_parent
from platemill.settings import QUIET_ENVIRONMENT

__all__ = ["PrefectServer", "require_port"]

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 180.0
_POLL_SECONDS = 0.25
_STOP_SECONDS = 20.0
_LAST_LINES = 8

# What the shell may say about another server must not reach this one.
_OTHERS = ("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_PROFILE", "PREFECT_UI_")


def require_port(port: int) -> None:
    """Make sure that nobody listens on a port of this machine.

    Raises:
        ConfigurationError: somebody does.
    """
    with socket.socket() as probe:
        # As servers do, so that connections that have just ended are no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be listened on: {error.strerror or error}. Choose another "
                "with --port; if a Prefect server that you want to use is there, set "
                f"PREFECT_API_URL=http://{_LOOPBACK}:{port}/api"
            ) from None


class PrefectServer:
    """A server with its scheduler and its automations, while the block lasts.

    It has a process group of its own, so that Ctrl-C in a terminal does not reach it, and ends
    with the process that started it, however that ends.

    Args:
        folder: where its database and log lie.
        port: where it listens, on loopback alone.
        start_seconds: how long it may take to answer; the first time it makes its database.
        variables: further variables of its environment.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        start_seconds: float = _START_SECONDS,
        variables: dict[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._port = port
        self._start_seconds = start_seconds
        self._variables = variables or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"http://{_LOOPBACK}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it, beside the environment of the machine."""
        return {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_HOME": str(self._folder)}

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    def has_ended(self) -> bool:
        """Whether it ended although nobody had asked for it."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_why: object) -> None:
        self._stop()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_OTHERS)}
        command = [sys.executable, "-m", "prefect", "server", "start"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--host", _LOOPBACK, "--port", str(self._port)],
                env={
                    **inherited,
                    **QUIET_ENVIRONMENT,
                    **self.environment,
                    # The page asks the API where this says, not where --port does.
                    "PREFECT_SERVER_API_HOST": _LOOPBACK,
                    "PREFECT_SERVER_API_PORT": str(self._port),
                    # A machine that slept is no reason to take a running night's place away.
                    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
                    # Runs of long ago go, or the database would grow for ever.
                    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
                    **self._variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(signal.SIGTERM),
            )
        deadline = time.monotonic() + self._start_seconds
        while not self._answers():
            if self.has_ended():
                raise ServerUnavailable(
                    f"the Prefect server ended while it started; its log, {self.log}, ends with: "
                    f"{self._last_words()}. Mend what it says and start it again"
                )
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the Prefect server did not answer within {self._start_seconds:g} s; its log "
                    f"is {self.log}. Start it again on a machine with less to do"
                )
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(_LOOPBACK, self._port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").split("\n")
            return " | ".join(line.strip() for line in lines if line.strip()[:1])[-800:]
        return "nothing"
