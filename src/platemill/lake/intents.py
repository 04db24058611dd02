"""What a rollback or a vacuum is about to do with old generations, said before it is done.

A rollback needs the files of an old generation, a vacuum removes them. The publish lease keeps the
two apart while both live; an intent does so for one that was stopped and goes on after its lease
was taken over::

    _intents/00000007-intent.json    who had publish token 7 restores, or removes, these generations

Each writes its intent, then looks whether it still holds the lease, then reads the others'. Tokens
grow, so of two the later one sees what the earlier one said, or the earlier one has seen that it
lost the lease and does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from platemill.failpoints import failpoint
from platemill.lake.generation import written_under
from platemill.lake.lease import Lease
from platemill.lake.storage import Storage

__all__ = ["Aim", "Intent", "declare", "intents", "withdraw"]

_FOLDER = "_intents"


class Aim(StrEnum):
    """What is done with the generations."""

    RESTORE = "restore"
    REMOVE = "remove"


@dataclass(frozen=True)
class Intent:
    """Who had ``token`` of the publish lease has this in mind with some generations."""

    token: int
    aim: Aim
    generations: frozenset[int]


def declare(storage: Storage, lease: Lease, aim: Aim, generations: Iterable[int]) -> Intent:
    """Say what is about to be done; return once it is certain that later holders see it.

    Raises:
        LeaseLost: another run took the publish lease over: do nothing.
    """
    intent = Intent(lease.token, aim, frozenset(generations))
    said = {"aim": aim.value, "generations": sorted(intent.generations)}
    failpoint("intent.declare.before")
    storage.replace(_name(lease.token), json.dumps(said).encode())
    failpoint("intent.declare.after")
    lease.check()
    return intent


def withdraw(storage: Storage, intent: Intent) -> None:
    """Take an intent back: it is done, or will never be."""
    storage.remove(_name(intent.token))


def intents(storage: Storage) -> list[Intent]:
    """Everybody's, in the order of their tokens."""
    found = []
    for name in storage.names(_FOLDER):
        data = storage.read(name)
        if data is not None:
            said = json.loads(data)
            aim, generations = Aim(said["aim"]), frozenset(said["generations"])
            found.append(Intent(written_under(name), aim, generations))
    return found


def _name(token: int) -> str:
    return f"{_FOLDER}/{token:08d}-intent.json"
