"""What a Triton server says about itself, over its HTTP API, with the standard library alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

__all__ = ["ModelState", "model_states", "server_name"]

_SECONDS = 5.0

# A proxy of the environment must never stand between a process and its own loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ModelState:
    """A model of a server: its version and its state, ``READY`` when it answers."""

    name: str
    version: str
    state: str


def server_name(address: str) -> str | None:
    """The id that the server at ``host:port`` was started with; None if nothing answers."""
    try:
        name: str = _ask(address, "/v2", None)["name"]
    except (OSError, ValueError, KeyError):
        return None
    return name


def model_states(address: str) -> list[ModelState]:
    """The models of the server at ``host:port`` by name; empty if nothing answers."""
    try:
        index = _ask(address, "/v2/repository/index", b"{}")
    except (OSError, ValueError):
        return []
    states = [
        ModelState(row["name"], str(row.get("version", "")), row.get("state", "UNAVAILABLE"))
        for row in index
    ]
    return sorted(states, key=lambda state: (state.name, state.version))


def _ask(address: str, path: str, body: bytes | None) -> Any:
    request = urllib.request.Request(f"http://{address}{path}", data=body)
    with _DIRECT.open(request, timeout=_SECONDS) as answer:
        return json.load(answer)
