"""Nodes that come and go are in the journal, each once."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

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


def test_who_has_gone_is_told_once_and_who_was_given_up_stays_so(tmp_path: Path) -> None:
    nodes = [node("a"), node("b"), node("c")]
    watch = NodeWatch(Journal(tmp_path), lambda: nodes)
    assert watch.look(now=True) == {}
    assert watch.count == 3
    watch.lose("b" * 56, "its worker cannot be reached")
    # The cluster has not noticed yet, and then it has.
    assert watch.look(now=True) == {}
    nodes[1] = node("b", alive=False)
    nodes[2] = node("c", alive=False)
    assert watch.look(now=True) == {"c" * 56: "it was preempted"}
    assert watch.look(now=True) == {}
    assert not watch.is_up("b" * 56)
    why = {event["node"][0]: event.get("why") for event in read_journal(tmp_path)}
    assert why == {"a": None, "b": "its worker cannot be reached", "c": "it was preempted"}


def test_a_notice_is_counted_down_and_ends_with_its_node(tmp_path: Path) -> None:
    nodes = [node("a"), node("b"), node("c")]
    notices = {"a" * 56: int(1000 * (time.time() + 30)), "b" * 56: 0, "x" * 56: 1}
    watch = NodeWatch(Journal(tmp_path), lambda: nodes, lambda: notices)
    watch.look(now=True)
    leaving = watch.leaving()
    assert leaving.keys() == {"a" * 56, "b" * 56}
    assert leaving["a" * 56] == pytest.approx(30, abs=2)
    assert leaving["b" * 56] is None
    nodes[0] = node("a", alive=False)
    watch.look(now=True)
    assert watch.leaving() == {"b" * 56: None}


def test_a_node_answers_as_long_as_its_process_is_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": listener.getsockname()[1]}
        watch = NodeWatch(Journal(tmp_path), lambda: [{**node("a"), **place}])
        watch.look(now=True)
        assert watch.answers("a" * 56)
        assert not watch.answers("b" * 56)
    assert not watch.answers("a" * 56)


def test_room_is_what_a_node_has_and_not_what_is_free(tmp_path: Path) -> None:
    nodes = [node("a", CPU=4.0), node("b", CPU=1.0, GPU=1.0), node("c", GPU=4.0)]
    watch = NodeWatch(Journal(tmp_path), lambda: nodes)
    watch.look(now=True)
    assert watch.with_room({"CPU": 1.0}) == ["a" * 56, "b" * 56]
    assert watch.with_room({"CPU": 1.0, "GPU": 1.0}) == ["b" * 56]
    assert watch.with_room({"CPU": 8.0}) == []
