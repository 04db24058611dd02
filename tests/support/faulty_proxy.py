"""A network that fails, between a client and a real HTTP server, by a schedule with a seed."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loopback_server import served

FAULTS = (
    "500",  # the server breaks before it does anything
    "503",  # the server is too busy
    "drop",  # the connection ends before the request is passed on
    "late",  # the request is passed on long after the client has given up
    "lost",  # the request is done, its answer is lost: a lost acknowledgement
    "half",  # the request is done, its answer ends in the middle
)
_IN_A_ROW = 3
_BODIES = {"500": b"InternalError", "503": b"SlowDown"}


class Schedule:
    """Says what happens to the next request. No request fails more than three times in a row.

    Args:
        seed: makes the schedule.
        share: how many of the requests fail.
        faults: the kinds to choose from.
    """

    def __init__(self, seed: int, share: float, faults: Sequence[str] = FAULTS) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._faults = faults
        self._row: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()

    def next(self, method: str, path: str) -> str | None:
        with self._lock:
            fails = self._random.random() < self._share
            fault = self._random.choice(self._faults)
            if not fails or self._row[method, path] >= _IN_A_ROW:
                self._row[method, path] = 0
                return None
            self._row[method, path] += 1
            self.done[fault] += 1
            return fault


@contextlib.contextmanager
def faulty_proxy(port: int, schedule: Schedule, late_seconds: float) -> Iterator[str]:
    """Stand in front of the server at a port of loopback; yields the proxy's URL."""

    class Handler(_Handler):
        upstream, plan, late = port, schedule, late_seconds

    with served(Handler, _Server) as url:
        yield url


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    upstream: int
    plan: Schedule
    late: float
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self._body()
        fault = self.plan.next(self.command, self.path)
        if fault in _BODIES:
            self._answer(int(fault or 0), {"Content-Type": "application/xml"}, _error(fault or ""))
        elif fault == "drop":
            self._cut()
        else:
            if fault == "late":
                time.sleep(self.late)
            status, headers, answer = self._ask(body)
            if fault == "lost":
                self._cut()
            elif fault == "half":
                self._answer(status, headers, answer, len(answer) // 2)
                self._cut()
            else:
                self._answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _ask(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        left_out = {"connection", "expect", "transfer-encoding", "content-length"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        headers["Content-Length"] = str(len(body))
        server = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            server.close()

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, sent: int | None = None
    ) -> None:
        self.send_response_only(status)
        own = {"connection", "transfer-encoding", "content-length"}
        for name, said in headers.items():
            if name.lower() not in own:
                self.send_header(name, said)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def _cut(self) -> None:
        """End the connection as a crash does, with a reset."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _error(status: str) -> bytes:
    code = _BODIES[status].decode()
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
