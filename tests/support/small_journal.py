"""The journal of a small night, as a run writes it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from platemill.journal import JOURNAL

__all__ = ["BEGAN", "at", "small_night", "write_events"]

BEGAN = dt.datetime(2026, 5, 4, 1, 0, tzinfo=dt.UTC)


def at(seconds: float) -> str:
    """A time of the night, so many seconds after its beginning."""
    return (BEGAN + dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def write_events(folder: Path, events: list[dict[str, Any]]) -> None:
    """Add events, each with its own ``at``."""
    with (folder / JOURNAL).open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def _stage(name: str, began: float, ended: float, **failure: str) -> dict[str, Any]:
    return {
        "at": at(ended),
        "event": "stage_failed" if failure else "stage",
        "stage": name,
        "began": at(began),
        "ended": at(ended),
        "seconds": ended - began,
        "attempt": 1,
        **failure,
    }


def _shard(key: str, node: str, began: float, ended: float, **counts: int) -> dict[str, Any]:
    return {
        "at": at(ended),
        "event": "shard",
        "key": key,
        "day": "2026-05-03",
        "node": node,
        "worker": "w1",
        "began": at(began),
        "ended": at(ended),
        "images": counts["recognised"] + counts["no_plate"] + counts["quarantined"],
        "bytes": 1000,
        "attempt": 1,
        **counts,
    }


def _progress(seconds: float, images: int, shards: int) -> dict[str, Any]:
    return {
        "at": at(seconds),
        "event": "progress",
        "images_done": images,
        "images_total": 100,
        "shards_done": shards,
        "shards_total": 10,
        "plates": images,
        "quarantined": 1,
    }


def small_night() -> list[dict[str, Any]]:
    """Two minutes: a failed recognition, then another with a GPU node that is lost."""
    counts = {"recognised": 7, "no_plate": 2, "quarantined": 1, "plates": 9}
    return [
        _stage("inventory", 0, 4),
        _stage("plan", 4, 5),
        {"at": at(6), "event": "node_up", "node": "a", "kind": "cpu", "cpus": 4, "gpus": 0},
        _stage("recognise", 5, 16, error="ServerUnavailable", text="no answer"),
        {"at": at(20), "event": "node_up", "node": "b", "kind": "cpu", "cpus": 4, "gpus": 0},
        {"at": at(30), "event": "node_up", "node": "c", "kind": "gpu", "cpus": 8, "gpus": 1},
        {"at": at(32), "event": "server_ready", "node": "c", "seconds": 12.5},
        _progress(32, 0, 0),
        _progress(40, 10, 0),
        _shard("s1", "b", 33, 41, **counts),
        {"at": at(45), "event": "shard_failed", "key": "s2", "attempt": 1, "why": "gone"},
        {"at": at(45), "event": "worker_lost", "node": "c", "why": "gone"},
        {"at": at(45), "event": "server_lost", "node": "c", "why": "gone"},
        {"at": at(50), "event": "node_down", "node": "c", "why": "preempted"},
        _shard("s2", "b", 46, 71, **counts),
        _progress(60, 50, 2),
    ]
