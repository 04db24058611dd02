"""The cells of the crash matrix: which point, who is killed there, how, in which world."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from platemill.failpoints import POINTS

__all__ = ["VICTIMS", "Cell", "cells_for", "own_victim"]

VICTIMS = ("flow", "driver", "worker", "raylet", "server", "stub")
"""Who can be killed: the flow, the job's driver, a worker, Ray's raylet, Triton, a stub of it."""

# Writes of these stand for "created, but the writer does not know".
_RECORDS = ("shard.record.after", "publish.commit.after", "lease.take.after")
# What is disturbed in the commands; what they share with nights is not tried at every point again.
_OF_COMMANDS = {
    "rollback": ("intent.", "rollback.", "publish.", "features.stage.after"),
    "vacuum": ("intent.", "vacuum."),
}
_DISK_FULL = 28
_LOST = 5


@dataclass(frozen=True)
class Cell:
    """One run of the matrix.

    Args:
        point: the failpoint.
        victim: who is hit there, one of ``VICTIMS``.
        how: ``kill``; ``error``: the write fails with "no space left" or, where it has happened
            already, with an input/output error (a lost acknowledgement); ``zombie``: the flow is
            killed and the worker goes on only after the rerun has published.
        seed: the world.
        hit: which pass of the point.
        start: what is disturbed, from where: ``base``: a night with everything before it;
            ``recognised``: a night after one that was killed when every shard was recorded;
            ``rollback``, ``vacuum``: these commands after two nights.
    """

    point: str
    victim: str
    how: str
    seed: int
    hit: int
    start: str

    @property
    def name(self) -> str:
        """Its name in tables and in the results' file."""
        return f"{self.start} {self.point} {self.victim} {self.how} {self.seed}.{self.hit}"

    @property
    def paused(self) -> bool:
        """Whether somebody else kills while the point is paused."""
        return self.how == "zombie" or (
            self.how == "kill" and self.victim != own_victim(self.point)
        )

    def order(self) -> dict[str, Any]:
        """What arms the point."""
        if self.paused:
            return {"action": "pause", "hit": self.hit}
        if self.how == "kill":
            return {"action": "kill", "hit": self.hit}
        number = _LOST if self.point in _RECORDS else _DISK_FULL
        return {"action": "error", "errno": number, "hit": self.hit}

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


def own_victim(point: str) -> str:
    """Whose process passes a point."""
    if point.startswith("shard."):
        return "worker"
    if point.startswith("job."):
        return "driver"
    return "flow"


def cells_for(
    seed: int, hits: Mapping[str, Mapping[str, int]], *, hits_each: int, in_job: int
) -> list[Cell]:
    """The cells of one world.

    Args:
        seed: the world.
        hits: start → point → how often an undisturbed night passes it.
        hits_each: passes of a point of the flow that are tried: the first, the last, any.
        in_job: passes that are tried of a point inside the Ray job, for every victim.
    """
    dice = random.Random(seed)
    cells: list[Cell] = []
    for point in POINTS:
        for start in _starts(point, hits):
            count = hits[start][point]
            if own_victim(point) == "flow":
                # From "base" the rerun has to recognise everything, which costs the most.
                victims: Sequence[str] = ("flow",)
                wanted = hits_each if start != "base" else 1
            elif own_victim(point) == "driver":
                # The workers and servers are dismissed.
                victims, wanted = ("flow", "driver"), in_job
            else:
                victims, wanted = VICTIMS, in_job
            for victim in victims:
                for hit in _some(dice, count, wanted):
                    cells.append(Cell(point, victim, "kill", seed, hit, start))
            hit = dice.randint(1, count)
            if point.endswith(".before") or point in _RECORDS:
                cells.append(Cell(point, own_victim(point), "error", seed, hit, start))
            if point.startswith("shard.record"):
                cells.append(Cell(point, "flow", "zombie", seed, hit, start))
    return cells


def _starts(point: str, hits: Mapping[str, Mapping[str, int]]) -> list[str]:
    """From where a point is disturbed; a night's only once, where it costs least."""
    commands = [
        command
        for command, prefixes in _OF_COMMANDS.items()
        if point.startswith(prefixes) and hits.get(command, {}).get(point)
    ]
    night = [start for start in ("recognised", "base") if hits[start].get(point)][:1]
    return night + commands


def _some(dice: random.Random, count: int, wanted: int) -> Sequence[int]:
    """Different numbers from 1 to count: at random, but the first and the last among them."""
    ends: Iterable[int] = dict.fromkeys((1, count))
    between = list(range(2, count))
    dice.shuffle(between)
    chosen = [*ends, *between]
    if wanted == 1:
        return [dice.choice(chosen)]
    return sorted(chosen[:wanted])
