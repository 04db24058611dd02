"""A real Prometheus for tests, in a process of its own, on loopback, over the project's config."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platemill.serving.embedded import free_ports

__all__ = ["PrometheusServer"]

_START_SECONDS = 60.0


class PrometheusServer:
    """Asks a server by its HTTP API. See `running`."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    @classmethod
    @contextlib.contextmanager
    def running(cls, config: Path, metrics: Path, folder: Path) -> Iterator[PrometheusServer]:
        """A server while the block lasts.

        Args:
            config: its configuration, which looks for ``platemill`` beside itself.
            metrics: the home's folder of metrics.
            folder: an empty folder for what it writes.
        """
        program = shutil.which("prometheus")
        assert program is not None, "there is no prometheus here (Debian: apt install prometheus)"
        shutil.copy(config, folder / "prometheus.yml")
        (folder / "platemill").symlink_to(metrics)
        (port,) = free_ports(1)
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                server = cls(port)
                server.until(lambda: server._ready(), _START_SECONDS)
                yield server
            finally:
                process.terminate()
                process.wait(30)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query: ``metric`` and ``value``."""
        result: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return result

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes."""
        found: list[dict[str, Any]] = self._ask("targets", state="active")["activeTargets"]
        return found

    @staticmethod
    def until(answers: Any, seconds: float = 60.0) -> Any:
        """Ask until the answer is true; returns it."""
        deadline = time.monotonic() + seconds
        while not (answer := answers()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.2)
        return answer

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, what: str, **given: str) -> Any:
        words = urllib.parse.urlencode(given)
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{words}", timeout=20) as answer:
            return json.loads(answer.read())["data"]
