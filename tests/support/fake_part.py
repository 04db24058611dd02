"""A part of a backfill with a recogniser that is not there: ``python -m fake_part --run-id R``.

What becomes of it is said by a file in the home: ``part-2`` holds ``fail``, ``refuse``, ``hang`` or
``after the first`` for the second part; without one it does its work.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from types import FrameType

from fake_night import without_servers, work

from platemill.errors import ConfigurationError, PlatemillError, ServerUnavailable
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.records import ERROR
from platemill.launch.stages import Night
from platemill.processes import end_with_parent
from platemill.settings import load_settings


def end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    end_with_parent(signal.SIGTERM, given.parent)
    settings = load_settings(lease_wait_seconds=60)
    without_servers()
    fate = ""
    with contextlib.suppress(FileNotFoundError):
        fate = (settings.home / f"part-{given.run_id.rpartition('-')[2]}").read_text()
    night = Night.load(settings, given.run_id)
    try:
        with Heartbeat(night.folder, 60), night.ending():
            match fate:
                case "fail":
                    raise ServerUnavailable("Triton does not answer")
                case "refuse":
                    raise ConfigurationError("no such profile")
                case "hang":
                    time.sleep(600)
                case "after the first":
                    first = night.folder.with_name(f"{given.run_id[:-1]}1") / ERROR
                    while not first.exists():
                        time.sleep(0.1)
            work(night)
    except PlatemillError as error:
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
