"""``serve_nights``: nights by a cron on one machine, with a Prefect server of their own.

The command checks everything that can be wrong at once, holds the home's schedule, and starts
``python -m flows.schedule``, which starts the server, serves the flow and runs the nights. Whatever
way one of these processes ends, the others end, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

import psutil

from platemill.archive.layout import Layout
from platemill.archive.sources import open_sources
from platemill.documents import write_json
from platemill.errors import (
    ConfigurationError,
    LeaseHeld,
    RetryableError,
    ServerUnavailable,
    error_from_record,
)
from platemill.launch.keeper import end_orphans
from platemill.launch.night import flow_environment
from platemill.launch.prefect_server import PrefectServer, require_port
from platemill.processes import adopt_orphans
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = ["Cron", "Service", "check_service", "own_server", "serve_nights"]

FLOW = "flows.schedule"

_CRON_FIELDS = 5
_ANSWER_SECONDS = 15.0
# A night that is told to end stops its job and its cluster.
_END_SECONDS = 90.0


@dataclass(frozen=True)
class Cron:
    """When nights begin: minute, hour, day of the month, month and day of the week.

    Args:
        text: five fields as in crontab, or a name as ``@daily``.
        timezone: an IANA name.

    Raises:
        ConfigurationError: it is no cron, no time zone, or a time that never comes.
    """

    text: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        fields = self.text.split()
        if len(fields) != _CRON_FIELDS and not self.text.startswith("@"):
            raise ConfigurationError(
                f"the cron '{self.text}' has {len(fields)} fields, not five: minute, hour, day of "
                "the month, month, day of the week. '0 2 * * *' is every day at 02:00"
            )
        self.next_times(1)

    def next_times(self, count: int, after: dt.datetime | None = None) -> list[dt.datetime]:
        """The next times that it fires, as Prefect's own scheduler counts them.

        Args:
            count: how many.
            after: from when on; default: now.
        """
        from prefect.server.schemas.schedules import CronSchedule

        start = after or dt.datetime.now(dt.UTC)
        try:
            schedule = CronSchedule(cron=self.text, timezone=self.timezone)
            return list(asyncio.run(schedule.get_dates(count, start)))
        except ValueError as error:  # pydantic's and croniter's errors are such
            said = str(error).split("Value error, ")[-1].split(" [type=")[0].split("\n")[0]
            raise ConfigurationError(
                f"the cron '{self.text}' in {self.timezone} cannot be used: {said}. '0 2 * * *' is "
                "every day at 02:00; time zones have names as Europe/Berlin"
            ) from None


@dataclass(frozen=True)
class Service:
    """What is served: which nights, when, and where.

    Args:
        cron: when nights begin.
        archives: folders, ``.tar`` or ``.zip`` files; absolute, once ``check_service`` has been
            asked.
        name: of the deployment, ``nightly/NAME`` in Prefect.
        port: where the Prefect server of its own listens; None where there is another.
        once_now: whether a night is also started at once.
    """

    cron: Cron
    archives: tuple[str, ...]
    name: str
    port: int | None
    once_now: bool = False

    def save(self, path: Path) -> None:
        """Write it where the process that serves finds it."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it back."""
        said: dict[str, Any] = json.loads(path.read_text())
        given = {**said, "cron": Cron(**said["cron"]), "archives": tuple(said["archives"])}
        return cls(**given)


def check_service(settings: Settings, service: Service) -> Service:
    """Check at once what would otherwise end the first night, hours later.

    Returns:
        The same with absolute archives, so that it means the same to every process.

    Raises:
        ConfigurationError: an archive, the layout, the networks or the home cannot be used.
    """
    open_sources(service.archives)
    Layout(settings.layout)
    pipeline_version(repository_of(settings))
    folder = _folder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "checked.json", {"at": dt.datetime.now(dt.UTC).isoformat()})
    except OSError as error:
        raise ConfigurationError(
            f"the home {settings.home} cannot be written to: {error.strerror}"
        ) from None
    # Links are not followed: an archive may be a link that is set anew every day.
    archives = tuple(a if "://" in a else str(Path(a).absolute()) for a in service.archives)
    return replace(service, archives=archives)


def serve_nights(settings: Settings, service: Service, say: Callable[[str], object]) -> None:
    """Serve nights until the process is told to end by SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: the deployment's settings.
        service: what ``check_service`` returned.
        say: called with a line for people.

    Raises:
        ConfigurationError: the port is taken.
        LeaseHeld: another process serves nights of this home.
        ServerUnavailable: the Prefect API does not answer.
        RetryableError: the process that serves ended by itself.
    """
    folder = _folder(settings)
    with _alone(folder):
        if service.port is None:
            require_api(os.environ["PREFECT_API_URL"])
        else:
            require_port(service.port)
        (folder / "error.json").unlink(missing_ok=True)
        request = folder / "service.json"
        service.save(request)
        variables = {"PREFECT_HOME": str(folder / "prefect")}
        if service.port is not None:
            variables |= own_server(settings, service.port).environment
        code, asked = _run(settings, request, variables, say)
        if code and not asked:
            raise _failure(folder, code)
        say("the schedule has ended" + ("; no night begins until it is started again" * asked))


def own_server(settings: Settings, port: int) -> PrefectServer:
    """The Prefect server of a home's schedule, not started."""
    return PrefectServer(_folder(settings) / "prefect", port)


def require_api(url: str) -> None:
    """Make sure that a Prefect API answers.

    Raises:
        ServerUnavailable: it does not.
    """
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_ANSWER_SECONDS):
            return
    except urllib.error.HTTPError as error:
        if error.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            return  # it answers; the client knows the credentials
        said = f"it says {error.code}"
    except (OSError, ValueError) as error:
        said = str(getattr(error, "reason", error))
    raise ServerUnavailable(
        f"the Prefect API at {url} does not answer: {said}. Start that server, correct "
        "PREFECT_API_URL, or unset it: then the schedule starts a server of its own"
    )


def _folder(settings: Settings) -> Path:
    return settings.home / "schedule"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the home's schedule; the kernel lets it go when this process ends, however it does."""
    path = folder / "lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LeaseHeld(
                f"process {lock.read().strip() or '?'} serves nights of {folder.parent} already; "
                "end it first, or leave it alone"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _run(
    settings: Settings, request: Path, variables: dict[str, str], say: Callable[[str], object]
) -> tuple[int, bool]:
    """Run the process that serves; returns its exit code and whether it was told to end."""
    command = [sys.executable, "-m", FLOW, "--service", str(request), "--parent", str(os.getpid())]
    # A night whose runner is killed comes to us, to be ended.
    adopt_orphans()
    others = set(psutil.Process().children())
    process = subprocess.Popen(
        command,
        cwd=settings.project,
        env={**flow_environment(settings), **variables},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        # Ctrl-C reaches us alone; then the night is ended before its server is.
        start_new_session=True,
    )
    asked: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if not asked:
            say("ending: a night that runs is stopped, what it recognised is kept …")
        asked.append(number)
        process.send_signal(signal.SIGTERM)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        end_orphans(others, _END_SECONDS)
    return code, bool(asked)


def _failure(folder: Path, code: int) -> Exception:
    record = folder / "error.json"
    if record.exists():
        return error_from_record(json.loads(record.read_text()))
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return RetryableError(
        f"the process that serves the nights ended {how}; what it said is above, and the server's "
        f"log is {folder / 'prefect' / 'server.log'}. Start it again: a night that was missed is "
        "made up for"
    )


def next_lines(cron: Cron, times: Sequence[dt.datetime]) -> list[str]:
    """The next nights, a line each, in the cron's zone and in UTC where that is another."""
    lines = []
    for at in times:
        local = f"{at:%a %Y-%m-%d %H:%M %Z}"
        utc = f" ({at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC)" if cron.timezone != "UTC" else ""
        lines.append(local + utc)
    return lines
