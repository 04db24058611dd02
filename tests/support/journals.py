"""Journals of runs that never were, written as a flow and a job write them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from platemill.journal import JOURNAL

BEGIN = dt.datetime(2026, 6, 1, 3, tzinfo=dt.UTC)

Event = dict[str, Any]


def at(seconds: float) -> str:
    """A time in a journal, so many seconds after ``BEGIN``."""
    return (BEGIN + dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def event(seconds: float, what: str, /, **fields: object) -> Event:
    return {"at": at(seconds), "event": what, **fields}


def stage(name: str, began: float, ended: float, **fields: object) -> Event:
    what = "stage_failed" if "error" in fields else "stage"
    times = {"began": at(began), "ended": at(ended), "seconds": ended - began, "attempt": 1}
    return event(ended, what, stage=name, **times, **fields)


def shard(
    key: str, day: str, began: float, ended: float, images: int, node: str = "n1", **fields: Any
) -> Event:
    times = {"began": at(began), "ended": at(ended)}
    return event(ended, "shard", key=key, day=day, node=node, images=images, **times, **fields)


def node_up(seconds: float, node: str = "n1", kind: str = "cpu") -> Event:
    return event(seconds, "node_up", node=node, kind=kind, cpus=4, gpus=int(kind == "gpu"))


def node_down(seconds: float, node: str = "n1", why: str = "job ended") -> Event:
    return event(seconds, "node_down", node=node, why=why)


def estimate(
    seconds: float,
    images: Mapping[str, int],
    *,
    prices: Mapping[str, float] | None = None,
    **fields: object,
) -> Event:
    said = {
        "pipeline_version": "p1",
        "images": dict(images),
        "private": True,
        "prices": {"per_hour": dict(prices or {}), "currency": "EUR"},
    }
    return event(seconds, "estimate", **{**said, **fields})


def whole_night(scale: float = 1.0, days: Mapping[str, int] | None = None) -> list[Event]:
    """A private night: 10 s before the recognition, 100 s in it, 20 s after it; times ``scale``.

    Of the recognition 30 s pass before the first shard and 5 s after the last; each day's shard
    takes time in proportion to its images.
    """
    images = dict(days or {"2026-05-01": 30, "2026-05-02": 10})
    total = sum(images.values())
    shards, begun = [], 40.0
    for day, count in images.items():
        ended = begun + 65.0 * count / total
        shards.append(shard(f"k-{day}", day, begun, ended, count))
        begun = ended
    events = [
        stage("inventory", 0, 8),
        stage("plan", 8, 10),
        estimate(10, images, prices={"cpu": 3.6}),
        node_up(25),
        *shards,
        node_down(109),
        stage("recognise", 10, 110),
        stage("facts", 110, 115),
        stage("tiles", 115, 120),
        stage("checks", 120, 122),
        stage("features", 122, 128),
        stage("publish", 128, 130),
    ]
    return [stretched(one, scale) for one in events]


def stretched(one: Event, scale: float) -> Event:
    """An event of a night that takes ``scale`` times as long."""
    moved = dict(one)
    for name in ("at", "began", "ended"):
        if name in moved:
            since = dt.datetime.fromisoformat(moved[name]) - BEGIN
            moved[name] = at(since.total_seconds() * scale)
    return moved


def save(folder: Path, events: Iterable[Event], days: int = 0) -> Path:
    """Write a run's journal, so many days later."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for one in events:
        moved = dict(one)
        for name in ("at", "began", "ended"):
            if name in moved:
                time = dt.datetime.fromisoformat(moved[name]) + dt.timedelta(days=days)
                moved[name] = time.isoformat(timespec="microseconds")
        lines.append(json.dumps(moved) + "\n")
    with (folder / JOURNAL).open("a") as file:
        file.writelines(lines)
    return folder
