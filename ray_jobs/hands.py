"""Who works for a job: its workers and servers, as its driver knows them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Hired", "Server", "first_line"]


@dataclass(eq=False)
class Hired:
    """A worker: where it is, what it works on, and whether it can be given more.

    given: the server that it uses, if servers are given.
    """

    actor: Any
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


@dataclass(eq=False)
class Server:
    """A node's Triton; ``asked``: its address is on its way."""

    actor: Any
    address: str | None = None
    asked: bool = False


def first_line(error: BaseException) -> str:
    """What an error says first, short enough for a line of a log."""
    return str(error).strip().split("\n")[0][:300]
