"""Shards that are worked alone, so that a death can be put down to one of their images.

A place is what shares a server: a node, or everybody where the servers are given. While somebody
is in at a place, no other shard is worked on there. Knows no executor.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from platemill.recognize.poison import Death, Isolation
from platemill.schema import Stage

__all__ = ["Patient", "Ward", "server_death", "worker_death"]

_DOING = {Stage.READ: "read", Stage.DECODE: "decoded", Stage.INFER: "recognised"}


@dataclass(eq=False)
class Patient:
    """An isolated shard; ``busy`` while a step of its isolation is being done."""

    key: str
    isolation: Isolation
    busy: bool = False


class Ward:
    """Who waits to be worked alone, and who is in, by place."""

    def __init__(self) -> None:
        self._waiting: deque[Patient] = deque()
        self._inside: dict[str, Patient] = {}

    @property
    def empty(self) -> bool:
        """Nobody waits and nobody is in."""
        return not self._waiting and not self._inside

    @property
    def idle(self) -> int:
        """How many wait or are in without being worked on."""
        return len(self._waiting) + sum(not who.busy for who in self._inside.values())

    @property
    def places(self) -> dict[str, Patient]:
        """Who is in, by place."""
        return dict(self._inside)

    def admit(self, key: str, images: int) -> None:
        """A shard of so many images has to be worked alone."""
        self._waiting.append(Patient(key, Isolation(images)))

    def at(self, place: str) -> Patient | None:
        """Who is in at a place; who waits goes in where nobody is."""
        if place not in self._inside and self._waiting:
            self._inside[place] = self._waiting.popleft()
        return self._inside.get(place)

    def find(self, key: str) -> Patient:
        """Who is in with that shard; ``KeyError`` if nobody is."""
        for patient in self._inside.values():
            if patient.key == key:
                return patient
        raise KeyError(key)

    def leave(self, patient: Patient) -> None:
        """A shard is recorded or given up."""
        self._inside = {at: who for at, who in self._inside.items() if who is not patient}

    def move(self, patient: Patient) -> None:
        """Whoever worked on it is gone: it goes on at the next place that is free."""
        self.leave(patient)
        self._waiting.appendleft(patient)


def server_death(hung: bool, why: str) -> Death:
    """Triton died, or hung, on an image that was recognised alone."""
    how = "hung" if hung else "died"
    return Death(Stage.INFER, f"Triton {how} while it was recognised alone: {why}")


def worker_death(trail: Path, why: str) -> Death:
    """A worker died of an image that was worked on alone.

    Args:
        trail: the file in which the worker noted where the image was; it is removed. Where it is
            missing, decoding is meant, which is what runs foreign code in a worker.
        why: what the executor says.
    """
    try:
        stage = Stage(trail.read_text().strip())
    except (OSError, ValueError):
        stage = Stage.DECODE
    trail.unlink(missing_ok=True)
    return Death(stage, f"a worker died while it was {_DOING[stage]} alone: {why}")
