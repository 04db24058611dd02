"""How many workers a job wants, what each needs, and who is to go. Knows no executor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ray_jobs.hands import Hired

__all__ = ["need_of", "options_of", "superfluous", "wanted_workers"]


def need_of(resources: Mapping[str, float]) -> dict[str, float]:
    """What a worker takes of a node: a CPU, unless something else is said, and what is said."""
    return {"CPU": 1.0, **resources}


def options_of(need: Mapping[str, float]) -> dict[str, Any]:
    """A need as the options of a Ray actor."""
    named = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {named[what]: need[what] for what in named if what in need}
    return {**options, "resources": {k: v for k, v in need.items() if k not in named}}


def wanted_workers(most: int, busy: int, waiting: int, shards_a_worker: int, alone: int) -> int:
    """How many workers are worth their nodes.

    Args:
        most: there may be no more.
        busy: workers that work.
        waiting: shards that nobody works on.
        shards_a_worker: so many of these justify another worker.
        alone: shards that have to be worked alone and are not being worked on.
    """
    return min(most, busy + math.ceil(waiting / shards_a_worker) + alone)


def superfluous(workers: Sequence[Hired], surplus: int, kept: Collection[str]) -> list[Hired]:
    """Who can go, so that a node is not started, or is free.

    First those that wait for a node, the last hired first; then those without a shard, where all
    of their node can go. An idle worker beside a busy one costs nothing.

    Args:
        workers: all that are to stay otherwise, in the order in which they were hired.
        surplus: how many may go.
        kept: nodes that are kept in any case.
    """
    going = [one for one in reversed(workers) if not one.node][: max(0, surplus)]
    left = surplus - len(going)
    for node in {one.node: None for one in reversed(workers) if one.node and one.node not in kept}:
        there = [one for one in workers if one.node == node]
        idle = not any(one.shards or one.connecting for one in there)
        if idle and len(there) <= left:
            going += there
            left -= len(there)
    return going
