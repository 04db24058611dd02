"""The keeper: a small process that holds a command's whole family and ends it with its parent.

``python -m platemill.launch.keeper --folder F --logs L -- command …`` runs the command. Every
process that comes of it stays the keeper's descendant, since the keeper adopts orphans (Linux's
child subreaper). So it can end exactly them, and nobody else's. It does so when its standard input
closes, which happens when the parent closes it, exits or is killed; on SIGTERM; and when the
command ends. Then it saves the logs in F to L and removes F.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from platemill.processes import adopt_orphans, end_with_parent

__all__ = ["COMMAND_ENDED", "end_orphans", "end_processes", "without_client_server"]

# The keeper's exit code when the command ended although nobody had asked for it.
COMMAND_ENDED = 3

_GRACE_SECONDS = 10.0


def without_client_server(params: Any, head: bool) -> None:
    """Keep Ray's client server off. Ray calls it by ``RAY_START_HOOK``; no option does it."""
    del head
    params.ray_client_server_port = None


def end_processes(
    find: Callable[[], Iterable[psutil.Process]], grace_seconds: float, tick: Callable[[], object]
) -> None:
    """Wait until ``find`` finds nobody; what is there after the grace is killed.

    Args:
        find: the processes that are still there; called again and again.
        grace_seconds: how long they may take to end by themselves.
        tick: called between two looks.
    """
    deadline = time.monotonic() + grace_seconds
    while remaining := list(find()):
        if time.monotonic() > deadline:
            for process in remaining:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        tick()
        time.sleep(0.05)


def end_orphans(others: set[psutil.Process], grace_seconds: float) -> None:
    """End what processes of ours left, in order if it can; whoever calls adopts orphans.

    Args:
        others: children of this process that are to stay.
        grace_seconds: how long the rest may take to end once it is told to.
    """
    me = psutil.Process()

    def left() -> list[psutil.Process]:
        return [child for child in me.children() if child not in others]

    def reap() -> None:
        for child in left():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)

    for child in left():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    end_processes(left, grace_seconds, reap)


def _reap() -> dict[int, int]:
    """Collect the children that ended: process id → wait status."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def _save_logs(folder: Path, logs: Path) -> None:
    for session in sorted(folder.glob("session_2*")):
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(session / "logs", logs, dirs_exist_ok=True)


def _keep(command: list[str], folder: Path, logs: Path, grace_seconds: float) -> int:
    adopt_orphans()
    parent = os.getppid()
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)
    with (logs / "start.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Should the keeper itself be killed, the command is told to end.
            preexec_fn=lambda: end_with_parent(signal.SIGTERM),
        )
    code = 0
    while not asked:
        if child.pid in _reap():
            code = COMMAND_ENDED
            break
        # Whatever is read is the end of the file: nobody writes.
        if select.select([0], [], [], 0.1)[0] or os.getppid() != parent:
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
    me = psutil.Process()
    end_processes(lambda: me.children(recursive=True), grace_seconds, _reap)
    _save_logs(folder, logs)
    shutil.rmtree(folder, ignore_errors=True)
    return code


def main() -> int:
    """Run the command given after ``--`` and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="removed at the end")
    parser.add_argument("--logs", type=Path, required=True, help="where logs are saved to")
    parser.add_argument(
        "--grace", type=float, default=_GRACE_SECONDS, help="seconds before SIGKILL"
    )
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    return _keep(given.command, given.folder, given.logs, given.grace)


if __name__ == "__main__":
    sys.exit(main())
