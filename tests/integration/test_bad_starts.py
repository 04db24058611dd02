"""Bad days that end a command before anything is started: what is said, and the exit code."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from loopback_server import served
from marked_command import MarkedCommand, error_of, refused
from photo_files import encoded, put
from s3_server import BUCKET, CREDENTIALS, point_at

from platemill.errors import ConfigurationError
from platemill.lake.s3 import S3Storage


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    put(tmp_path / "photos/gate/2026/03/01/070500.jpg", encoded(seed=1))
    return tmp_path / "photos"


def test_a_port_that_is_taken(tmp_path: Path, archive: Path) -> None:
    home = tmp_path / "home"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asked = ("--home", home, "--archive", archive, "--cron", "0 2 * * *")
        code, error = refused("schedule", *asked, "--port", str(port))
    assert code == 2
    assert error.startswith(f"ConfigurationError: port {port} cannot be listened on: Address alrea")
    assert "Choose another with --port; if a Prefect server that you want to use is th" in error
    assert f"set PREFECT_API_URL=http://127.0.0.1:{port}/api" in error


def test_a_prefect_server_that_is_gone(tmp_path: Path, archive: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    asked = ("--home", tmp_path / "home", "--archive", archive, "--cron", "0 2 * * *")
    code, error = refused("schedule", *asked, PREFECT_API_URL=url)
    assert code == 4
    assert error.startswith(f"ServerUnavailable: the Prefect API at {url} does not answer: ")
    assert "Start that server, correct PREFECT_API_URL, or unset it" in error


def small_disk(folder: Path) -> tuple[str, ...] | None:
    """What starts a command on a tmpfs of its own that is full; None if nobody lets us mount."""
    fill = 'mount -t tmpfs -o size=256k none "$1" && { cat /dev/zero > "$1/filler"; shift; '
    own = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", fill + 'exec "$@"; }')
    whole = (*own, "sh", str(folder))
    if not shutil.which("unshare"):
        return None
    tried = subprocess.run([*whole, "true"], capture_output=True, check=False)
    return None if tried.returncode else whole


def test_a_full_disk(tmp_path: Path, archive: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # Where nobody may mount, a limit on the size of files ends writes like a full disk.
    before = small_disk(disk) or ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")
    asked = ("run", "--home", disk / "home", "--archive", archive)
    code, error = error_of(MarkedCommand(*asked, variables={}, before=before).end())
    assert code == 4
    assert error.startswith("DiskFull: there is no room left for ")
    assert "nothing half-written is visible. Free some space, `platemill vacuum` does, and" in error
    assert error.endswith("run again: what was recognised is kept")


@contextlib.contextmanager
def expired_store() -> Iterator[str]:
    """An S3 store to which every token has expired; a HEAD has no body that could say so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code><Message>'
                b"The provided token has expired.</Message></Error>"
            )
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(400)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as url:
        yield url


def test_credentials_of_the_bucket_that_have_expired(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with expired_store() as url:
        code, error = refused(
            *("run", "--home", tmp_path / "home", "--archive", archive),
            **{**CREDENTIALS, "AWS_SESSION_TOKEN": "old", "AWS_ENDPOINT_URL": url},
            PLATEMILL_LAKE_URL=f"s3://{BUCKET}/mill",
        )
        point_at(monkeypatch, url)
        with pytest.raises(ConfigurationError, match="may have expired: renew them, or check AWS"):
            S3Storage(f"s3://{BUCKET}/mill", tmp_path / "cache").exists("a")
    assert code == 2
    assert error.startswith(f"ConfigurationError: s3://{BUCKET}/mill answers 400 ExpiredToken")
    assert "the credentials have expired: renew them. Then run again: what was recognised" in error
