"""A real redis-server for tests, in a process of its own, on loopback, with nothing kept."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

_START_SECONDS = 30.0
_TRIES = 5


class RedisServer:
    """A server on a free port while the block lasts; its databases are empty at the start.

    Raises:
        RuntimeError: there is no redis-server on this machine (Debian: apt install redis-server).
    """

    def __init__(self) -> None:
        self.port = 0
        self._folder = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        """As Feast's configuration wants it."""
        return f"127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """A client of its first database."""
        return Redis(host="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("there is no redis-server: apt install redis-server")
        self._folder = tempfile.mkdtemp(prefix="redis-")
        # Another process may take the port in between: then the next one is tried.
        for _ in range(_TRIES):
            if self._start(program):
                return self
        self.__exit__(None, None, None)
        raise RuntimeError("redis-server did not start")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """End the server as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start it again on its port, empty."""
        program = shutil.which("redis-server")
        assert program is not None
        if not self._start(program, self.port):
            raise RuntimeError(f"redis-server did not start again on port {self.port}")

    def _start(self, program: str, port: int | None = None) -> bool:
        self.port = port or _free_port()
        self._process = subprocess.Popen(
            [
                program,
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + _START_SECONDS
        with contextlib.closing(self.client()) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                with contextlib.suppress(RedisConnectionError):
                    client.ping()
                    # Another server may answer there: is it this one?
                    if client.info("server")["process_id"] == self._process.pid:
                        return True
                time.sleep(0.05)
        self.stop()
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
