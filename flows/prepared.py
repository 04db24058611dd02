"""The process of a run that a command prepared: it runs the run's flow, and ends with its code."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType

from flows.ending import ended_in_time
from platemill.errors import PlatemillError
from platemill.processes import end_with_parent

__all__ = ["run_prepared"]


def run_prepared(work: Callable[..., object], about: str | None) -> int:
    """Run the flow of a run that a command prepared, in the process that it started for this.

    Args:
        work: the flow.
        about: what ``--help`` says.

    Returns:
        The process's exit code, which says with ``error.json`` how the run ended.
    """
    return ended_in_time(lambda: _run(work, about))


def _run(work: Callable[..., object], about: str | None) -> int:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--run-id", required=True, help="a run that a command prepared")
    parser.add_argument("--parent", type=int, help="process to end with")
    arguments = parser.parse_args()
    # Prefect ends a flow as the signal was going to, and its server only if the interpreter exits.
    signal.signal(signal.SIGTERM, _exit)
    if arguments.parent is not None:
        # Whoever asked for the run may be killed; nothing of it shall go on unseen.
        end_with_parent(signal.SIGTERM, arguments.parent)
    try:
        work(run_id=arguments.run_id)
    except PlatemillError as error:
        return error.exit_code
    return 0


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
