"""Runs the parts of a backfill, some at once, each in a process of its own, until all have ended.

A part is the flow of a night (``flows.nightly``), with its own retries, deadlines and heartbeat.
One that fails does not stop the others, unless by a wrong setting, which the others have, too.
Whatever ends this process ends the parts: they are told to, and wait for their jobs to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from platemill.errors import ConfigurationError, PlatemillError
from platemill.launch.backfill import Backfill, Part
from platemill.launch.night import flow_command, flow_failure
from platemill.launch.stages import Night
from platemill.settings import QUIET_ENVIRONMENT, Settings

__all__ = ["PART_LOG", "run_parts"]

PART_LOG: Final = "flow.log"
"""In a part's folder: what its flow printed."""

_POLL_SECONDS: Final = 0.5
_END_SECONDS: Final = 90.0


def run_parts(
    lead: Night,
    backfill: Backfill,
    settings: Settings,
    environment: Mapping[str, str],
    tell: Callable[[list[dict[str, Any]]], object],
    module: str = "flows.nightly",
) -> None:
    """Run all parts, no more at once than was asked for.

    Args:
        lead: the run whose inventory they share.
        backfill: what is to be done.
        settings: the deployment's settings.
        environment: variables of the parts' processes, besides.
        tell: called again and again with how all parts stand, see `Part.row`.
        module: the flow of a part.

    Raises:
        PlatemillError: what the worst part ended with: a wrong setting before a failed check before
            what another try may mend. What the others did is published.
    """
    crew = _Crew(lead, settings, environment, module)
    waiting = deque(backfill.parts)
    try:
        while waiting or crew.running:
            while waiting and len(crew.running) < backfill.parallel and not crew.is_hopeless:
                crew.begin(waiting.popleft())
            if crew.is_hopeless:
                waiting.clear()
            tell(crew.rows(backfill))
            if crew.running:
                time.sleep(_POLL_SECONDS)
            crew.look()
    finally:
        crew.end()
        tell(crew.rows(backfill))
    if crew.failures:
        raise _worst(crew.failures, len(backfill.parts))


class _Crew:
    """The processes of the parts that are at work."""

    def __init__(
        self, lead: Night, settings: Settings, environment: Mapping[str, str], module: str
    ) -> None:
        self._lead = lead
        self._project = settings.project
        self._environment = {
            **os.environ,
            **QUIET_ENVIRONMENT,
            **settings.environment(),
            **environment,
        }
        self._module = module
        self._runs = lead.folder.parent
        self._over: dict[Part, dict[str, Any]] = {}
        self.running: dict[Part, subprocess.Popen[bytes]] = {}
        self.failures: dict[str, PlatemillError] = {}

    @property
    def is_hopeless(self) -> bool:
        """Whether a part failed by what the others have as well."""
        return any(isinstance(error, ConfigurationError) for error in self.failures.values())

    def begin(self, part: Part) -> None:
        night = self._lead.part(part.run_id, part.days)
        with (night.folder / PART_LOG).open("wb") as log:
            self.running[part] = subprocess.Popen(
                flow_command(self._module, part.run_id),
                cwd=self._project,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def rows(self, backfill: Backfill) -> list[dict[str, Any]]:
        """How all parts stand; of those that are over nothing is read again."""
        return [self._over.get(part) or part.row(self._runs) for part in backfill.parts]

    def look(self) -> None:
        """Note who has ended, and how."""
        for part, process in [*self.running.items()]:
            if process.poll() is None:
                continue
            del self.running[part]
            self._over[part] = part.row(self._runs)
            if process.returncode:
                folder = self._runs / part.run_id
                self.failures[part.run_id] = flow_failure(folder, process.returncode)

    def end(self) -> None:
        """End who is still at work; returns when nobody is."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            # Its job sees by its heartbeat that it is gone.
            process.kill()
            process.wait()


def _worst(failures: Mapping[str, PlatemillError], parts: int) -> PlatemillError:
    """The error that another try mends least, with how many parts failed."""
    order = (2, 3, 1, 4)
    run_id, error = min(failures.items(), key=lambda item: order.index(item[1].exit_code))
    return type(error)(f"{len(failures)} of {parts} parts failed; {run_id}: {error}")
