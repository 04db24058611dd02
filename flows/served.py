"""A night that `platemill schedule` serves ends with the process that serves it."""

from __future__ import annotations

import signal

from prefect.runtime import flow_run

from platemill.processes import end_with_parent

__all__ = ["SERVED", "end_with_runner"]

SERVED = "platemill-schedule"
"""The tag of the runs of such a deployment."""


def end_with_runner() -> None:
    """Let a served run's process be told to end when its runner is killed.

    Else it would work on with nobody to tell, beside the night that the next schedule begins. A
    worker's runs are left alone: their server and their worker's successor still know them.
    """
    if SERVED in flow_run.get_tags():
        end_with_parent(signal.SIGTERM)
