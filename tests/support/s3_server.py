"""A real S3 server for tests: moto's, in a process of its own, on loopback.

moto looks whether a name is taken and writes it in two steps, S3 does both in one. So requests are
let in one at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from platemill.processes import end_with_parent

BUCKET = "archive"
_START_SECONDS = 60.0

# moto gives credentials no meaning; boto3 wants some, and must not look for others on the machine.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHAREDCREDENTIALS_FILE": "/dev/null",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


@dataclass(frozen=True)
class S3Server:
    """Where it listens: ``http://127.0.0.1:port``."""

    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def empty(self) -> None:
        """Forget everything but an empty bucket."""
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", f"/{BUCKET}")

    def _ask(self, method: str, path: str) -> None:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        with _OPENER.open(request, timeout=10) as answer:
            answer.read()


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server on a free port; its log goes to ``folder/moto.log``."""
    log = folder / "moto.log"
    with log.open("w") as out:
        # Port 0, read back from the log: another process cannot take it in between.
        process = subprocess.Popen(
            [sys.executable, __file__, str(os.getpid())],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        server = S3Server(_url(process, log))
        server.empty()
        yield server
    finally:
        process.kill()
        process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "Running on http://" in line:
                return line.split("Running on ", 1)[1].strip()
        time.sleep(0.1)
    raise RuntimeError(f"moto's server did not start: {log.read_text()}")


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let boto3 in this process, and in those that it starts, find a server."""
    for name, said in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, said)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


def _serve(parent: int) -> None:
    end_with_parent(signal.SIGKILL, parent)
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    moto = DomainDispatcherApplication(create_backend_app)
    one = threading.Lock()

    def serialised(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with one:
            return list(moto(environ, start_response))

    run_simple("127.0.0.1", 0, serialised, threaded=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
