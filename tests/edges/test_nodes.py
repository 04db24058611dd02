"""Nodes that come and go are in the journal, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platemill.journal import Journal, read_journal
from ray_jobs.nodes import NodeWatch


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    known = {"NodeID": name * 56, "Alive": alive, "Resources": resources}
    return known if alive else {**known, "DeathReasonMessage": "it was preempted"}


def test_a_node_that_comes_goes_or_stays_is_noted_once(tmp_path: Path) -> None:
    nodes = [node("a", CPU=4.0), node("b", CPU=8.0, GPU=1.0), node("c", alive=False)]
    watch = NodeWatch(Journal(tmp_path), lambda: nodes)
    watch.look(now=True)
    watch.look()
    watch.look(now=True)
    nodes[1] = node("b", alive=False)
    watch.look(now=True)
    watch.end()
    watch.end()
    said = [
        {name: value for name, value in event.items() if name != "at"}
        for event in read_journal(tmp_path)
    ]
    a, b = "a" * 12, "b" * 12
    assert said == [
        {"event": "node_up", "node": a, "kind": "cpu", "cpus": 4.0, "gpus": 0.0},
        {"event": "node_up", "node": b, "kind": "gpu", "cpus": 8.0, "gpus": 1.0},
        {"event": "node_down", "node": b, "why": "it was preempted"},
        {"event": "node_down", "node": a, "why": "job ended"},
    ]
