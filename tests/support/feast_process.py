"""Feast's own commands as processes of their own, in the folder ``feature_repo/``, on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from small_lake import PROJECT

from platemill.settings import QUIET_ENVIRONMENT, Settings

_START_SECONDS = 150.0


def feast(settings: Settings, *arguments: str) -> str:
    """Run a command to its end and return what it says; an error if it fails."""
    done = subprocess.run(
        _command(settings, arguments),
        env=_environment(settings),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextlib.contextmanager
def feast_servers(
    log: Path, commands: dict[str, tuple[Settings, Sequence[str]]]
) -> Iterator[dict[str, int]]:
    """Servers by name, started side by side; each is given ``{port}``. Yields their ports."""
    ports = {name: free_port() for name in commands}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, (settings, command) in commands.items():
            given = [part.format(port=ports[name]) for part in command]
            with (log / f"{name}.log").open("wb") as out:
                processes[name] = subprocess.Popen(
                    _command(settings, given),
                    env=_environment(settings),
                    cwd=PROJECT,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        for name, process in processes.items():
            _wait(process, ports[name], log / f"{name}.log")
        yield ports
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _command(settings: Settings, arguments: Sequence[str]) -> list[str]:
    program = Path(sys.executable).parent / "feast"
    repository = PROJECT / "feature_repo"
    chosen = repository / ("feature_store.yaml" if settings.online_url is None else "redis.yaml")
    return [
        str(program),
        *("--chdir", str(repository), "--feature-store-yaml", str(chosen)),
        *arguments,
    ]


def _environment(settings: Settings) -> dict[str, str]:
    # No proxy: everything here is on this machine.
    online = {} if settings.online_url is None else {"PLATEMILL_ONLINE_URL": settings.online_url}
    return {
        **os.environ,
        **QUIET_ENVIRONMENT,
        **online,
        "PLATEMILL_HOME": str(settings.home),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise RuntimeError(f"feast did not start: {log.read_text()}")
