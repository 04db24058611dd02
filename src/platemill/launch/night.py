"""``run_night``: what the command line does for one night.

The inventory and the plan are made here, so that a night that finds nothing new ends in seconds
without starting anything. Everything else is the flow ``flows.nightly``, which runs in a process
of its own, so that Prefect and Ray see a quiet environment from their first import on.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from rich.console import Console

from platemill.errors import PlatemillError, RetryableError, error_from_record
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.keeper import end_orphans
from platemill.launch.records import ERROR
from platemill.launch.stages import Night
from platemill.observe.run import recorded
from platemill.processes import adopt_orphans
from platemill.settings import QUIET_ENVIRONMENT, Settings

__all__ = [
    "flow_command",
    "flow_environment",
    "flow_failure",
    "new_run_id",
    "prepared",
    "run_flow",
    "run_night",
]

FLOW = "flows.nightly"

# A cluster's keeper ends its family and saves the logs.
_ORPHAN_SECONDS = 30.0


def new_run_id(now: dt.datetime | None = None) -> str:
    """A run's name: its start in UTC and six random hex digits, sortable by time."""
    at = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    return f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def run_night(
    settings: Settings,
    archives: Sequence[str],
    days: frozenset[dt.date] | None,
    *,
    console: Console,
    retry: Sequence[str] = (),
    budget: float | None = None,
) -> dict[str, Any]:
    """Run one night and return its summary.

    Args:
        settings: the deployment's settings.
        archives: folders, ``.tar`` or ``.zip`` files.
        days: only images of these UTC days; None for all.
        console: where progress and warnings go.
        retry: URIs of quarantined images: the night is over exactly these, and no archive is named.
        budget: what the night may cost; days that it does not pay for are left, whole.

    Returns:
        ``run_id, generation, images_seen, images_new, images_deleted, images_returned,
        recognised, no_plate, quarantined, plates, images_per_second``, ``costs`` and ``seconds`` by
        stage, and ``days_left, images_left`` if the budget left any.

    Raises:
        ConfigurationError: an archive or a setting is wrong.
        CheckFailed: a check failed; nothing was published.
        RetryableError: a part did not answer or died; what was recognised is kept.
    """
    night = Night.new(settings, new_run_id(), archives, days, retry, budget)
    with recorded(settings, night.run_id):
        return _run(settings, night, console)


def _run(settings: Settings, night: Night, console: Console) -> dict[str, Any]:
    with Heartbeat(night.folder, settings.lease_seconds) as heart:
        with night.ending():
            prepared(night, console)
            if not night.has_work():
                return night.finish()
        heart.leave()
    run_flow(settings, FLOW, night.folder)
    return night.summary()


def prepared(night: Night, console: Console) -> None:
    """Take a night's inventory and make its plan, and show what a person should know of them."""
    night.repair()
    with console.status("taking the inventory …") as status:
        night.inventory(lambda done: status.update(f"taking the inventory … {done:,} files"))
    night.plan()
    for warning in (*night.warnings(), *night.left()):
        console.print(f"warning: {warning}", style="yellow", markup=False)


def flow_environment(settings: Settings) -> dict[str, str]:
    """The environment of the flow's process: quiet, on loopback, with Prefect's files at home."""
    # A proxy that the machine has set must not see what goes to our own servers.
    direct = {
        name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))
        for name in ("NO_PROXY", "no_proxy")
    }
    return {
        **os.environ,
        **QUIET_ENVIRONMENT,
        **direct,
        **settings.environment(),
        "PREFECT_HOME": str(settings.runs / "prefect"),
    }


def flow_command(module: str, run_id: str) -> list[str]:
    """What runs the flow of a run that is prepared, in a process that ends with this one."""
    return [sys.executable, "-m", module, "--run-id", run_id, "--parent", str(os.getpid())]


def run_flow(settings: Settings, module: str, folder: Path) -> None:
    """Run the flow of a run that is prepared, in a process of its own, to its end.

    Args:
        settings: the deployment's settings.
        module: the flow's: ``flows.nightly``.
        folder: the run's.

    Raises:
        PlatemillError: whatever the flow ended with.
    """
    # A flow that is killed cannot end what it started, Prefect's server for one: it comes to us.
    adopt_orphans()
    others = set(psutil.Process().children())
    # The flow's stdout joins our stderr: stdout is for the answer alone.
    process = subprocess.Popen(
        flow_command(module, folder.name),
        cwd=settings.project,
        env=flow_environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        # Ctrl-C in a terminal is for this process, which hands it on. Prefect's server would get
        # it, too, and be gone before the flow can tell it how it ended.
        start_new_session=True,
    )

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        # Let it stop its cluster.
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        end_orphans(others, _ORPHAN_SECONDS)
    if code:
        raise flow_failure(folder, code)


def flow_failure(folder: Path, code: int) -> PlatemillError:
    """What the flow of a run ended with, by the run's folder and the process's exit code."""
    path = folder / ERROR
    if path.exists():
        return error_from_record(json.loads(path.read_text()))
    # A shell's way to say that a signal ended it: 128 and the signal's number.
    number = code - 128 if code > 128 else -code
    names = {known.value: known.name for known in signal.Signals}
    how = f"by {names[number]}" if number in names else f"with exit code {code}"
    return RetryableError(
        f"the run was ended {how}; what it left is in {folder}. Run again: what was recognised "
        "is kept"
    )
