"""A whole night in a process of its own, with a recogniser that is not there.

``python fake_night.py HOME ARCHIVE RUN`` runs the stages as the flow does, with real leases, a real
lake and a real commit. The photos are read and decoded, and the plates are what the first pixel
says. It tells on stdout where it is, a JSON list a line, and stops there until it reads a line, if
``--stop-at`` names the place. It ends with the exit code of the error, and says which.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from small_lake import settings_for
from small_recogniser import recognise_shards

from platemill.errors import GenerationConflict, PlatemillError
from platemill.features.online import StagedOnline
from platemill.lake import open_lake
from platemill.lake.lease import Tokens, day_lease
from platemill.launch import stages
from platemill.launch.stages import Night
from platemill.recognize.plan import Plan, Shard
from platemill.recognize.results import ImageResult
from platemill.recognize.shards import write_shard
from platemill.settings import Settings

STOPS: set[str] = set()


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)
    if words[0] in STOPS:
        STOPS.discard(str(words[0]))
        sys.stdin.readline()


def recognise_here(settings: Settings, run_id: str, _progress: Any) -> None:
    """What the Ray job does: every shard without a record, checked like a worker checks it."""
    lake = open_lake(settings)
    folder = settings.runs / run_id
    plan, tokens = Plan.load(folder), Tokens.load(folder)

    def write(shard: Shard, results: Iterator[ImageResult]) -> None:
        say("shard", shard.key)
        lease = [day_lease(shard.day)]
        write_shard(lake, shard.key, results, lambda: tokens.check(lake.storage, lease))
        say("recorded", shard.key)

    recognise_shards(lake, plan, run_id, write, now=lambda: dt.datetime.now(dt.UTC))


def run(settings: Settings, archive: Path, run_id: str) -> None:
    work(Night.new(settings, run_id, [str(archive)], None))


def work(night: Night) -> None:
    night.inventory()
    night.plan()
    say("planned")
    if night.has_work():
        with night.holding(lambda line: say("log", line)):
            say("holding", night.has_work())
            if night.has_work():
                night.recognise(lambda _: None)
                with night.publishing(lambda line: say("log", line)):
                    _publish(night)
    say("finished", night.finish()["images_new"])


def _publish(night: Night) -> None:
    while True:
        night.facts()
        night.tiles()
        night.checks()
        night.features()
        say("drafted")
        try:
            say("published", night.publish())
            return
        except GenerationConflict as conflict:
            say("log", str(conflict))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("run_id")
    parser.add_argument("--stop-at", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--wait", type=float, default=120.0)
    given = parser.parse_args()
    STOPS.update(given.stop_at)
    settings = settings_for(
        given.home,
        lease_seconds=given.seconds,
        lease_wait_seconds=given.wait,
        shard_images=4,
        error_budget=1.0,
    )
    without_servers()
    try:
        run(settings, given.archive, given.run_id)
    except PlatemillError as error:
        say("error", type(error).__name__, str(error))
        return error.exit_code
    return 0


def without_servers() -> None:
    """No Ray, no Triton, and Feast's seconds are spent elsewhere."""
    stages.run_recognition = recognise_here  # type: ignore[assignment]
    stages.pipeline_version = lambda _: "p1"  # type: ignore[assignment]
    stages.stage_online = lambda *_, **_given: StagedOnline(0, 0, 0, False)
    stages.finish_online = lambda _: False


if __name__ == "__main__":
    sys.exit(main())
