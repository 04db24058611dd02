"""Who works for a job: its workers and servers, as its driver knows them."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finished", "Hired", "Server", "first_line", "short_name"]

_NAME_DIGITS = 12


@dataclass(frozen=True)
class Finished:
    """A shard that was recorded: where, when, and which attempt at it that was."""

    key: str
    node: str
    worker: str
    began: dt.datetime
    ended: dt.datetime
    byte_size: int
    attempt: int


@dataclass(eq=False)
class Hired:
    """A worker: where it is, what it works on, and whether it can be given more.

    given: the server that it uses, if servers are given.
    """

    actor: Any
    name: str
    given: str | None = None
    node: str = ""
    prepared: bool = False
    connected: bool = False
    connecting: bool = False
    address: str = ""
    # Something died: it has to recognise a grey picture before it gets a shard.
    shaken: bool = False
    shards: set[str] = field(default_factory=set)
    counts: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)
    stalled: bool = False
    # Its node has no use: it holds the place, so that nobody else is sent there.
    benched: bool = False

    @property
    def place(self) -> str:
        """What shares its server: its node, or everybody where the servers are given.

        A server that is given on loopback is its node's own all the same: a pod's, say.
        """
        given = (self.given or "").rpartition(":")[0]
        return self.node if given in ("", "127.0.0.1", "localhost", "[::1]") else ""


@dataclass(eq=False)
class Server:
    """A node's Triton; ``asked``: its address is on its way, ``since`` when."""

    actor: Any
    address: str | None = None
    asked: bool = False
    since: float = field(default_factory=time.monotonic)


def short_name(node: str) -> str:
    """A node's id as people and journals call it."""
    return node[:_NAME_DIGITS]


def first_line(error: BaseException) -> str:
    """What an error says first, short enough for a line of a log."""
    return str(error).strip().split("\n")[0][:300]
