"""A run's journal as times: when stages ran, when nodes were up, when shards were worked on.

A journal may be cut off anywhere, be of a run that was killed and went on, or hold lines of another
release. A line that says nothing that is understood is passed over; what is open at the end of the
journal ends there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

__all__ = ["LONGEST_GAP", "RECOGNISE", "Estimated", "RunTimes", "ShardTime", "Span", "run_times"]

RECOGNISE: Final = "recognise"
LONGEST_GAP: Final = 900.0
"""Seconds between two stages above which the machine is taken to have been off, or away."""

_OF_A_JOB: Final = frozenset({"node_up", "server_ready", "shard", "progress"})


@dataclass(frozen=True, slots=True)
class Span:
    """A time, in seconds since 1970 (UTC).

    what: the stage; of a node, its kind. node: the node's id, empty where there is none.
    """

    what: str
    began: float
    ended: float
    node: str = ""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class ShardTime:
    """A recorded shard: its images, and when it was worked on, on its node's clock."""

    key: str
    day: dt.date
    node: str
    began: float
    ended: float
    images: int


@dataclass(frozen=True)
class Estimated:
    """What a run wrote down right before it recognised; tried again, it does so again.

    Attributes:
        pipeline_version: what it recognises with.
        images: its planned images by day.
        private: whether the cluster is its own, on its own machine.
        prices: the price table as JSON, unread.
        budget: what the run may cost; None for no limit.
        reserve: of it, what is expected of the stages after the recognition.
        expected: stage → node kind → ``seconds`` and ``node_seconds``, at the first try; empty:
            nothing was known.
    """

    pipeline_version: str
    images: Mapping[dt.date, int]
    private: bool = True
    prices: Any = None
    budget: float | None = None
    reserve: float = 0.0
    expected: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunTimes:
    """What a journal says of a run's times.

    Attributes:
        stages: every attempt at a stage but the recognition, whether it ended well or not.
        attempts: the attempts at the recognition, the last one perhaps not ended.
        nodes: when nodes of the recognition were up.
        shards: the shards it recorded, each once.
        estimated: what it expected; None if it never came to that.
        left: days that the budget left for another night.
        finished: stages that ended well.
        first: the time of its first line.
        last: the time of its last line.
    """

    stages: tuple[Span, ...]
    attempts: tuple[Span, ...]
    nodes: tuple[Span, ...]
    shards: tuple[ShardTime, ...]
    estimated: Estimated | None
    left: frozenset[dt.date]
    finished: frozenset[str]
    first: float
    last: float

    @property
    def between(self) -> float:
        """Seconds between one stage and the next, but for gaps that are too long."""
        spans = sorted((*self.stages, *self.attempts), key=lambda span: span.began)
        seconds, end = 0.0, None
        for span in spans:
            if end is not None and 0 < span.began - end <= LONGEST_GAP:
                seconds += span.began - end
            end = span.ended if end is None else max(end, span.ended)
        return seconds

    @property
    def own_kind(self) -> str:
        """The kind of the machine that the other stages run on: that of a private cluster."""
        is_private = self.estimated is None or self.estimated.private
        return self.nodes[0].what if is_private and self.nodes else "cpu"


def run_times(events: Sequence[Mapping[str, Any]], now: float | None = None) -> RunTimes:
    """Read a journal.

    Args:
        events: ``read_journal``'s; those without a time are passed over.
        now: what is open ends now, as the run goes on; default: it ended with the last line.

    Raises:
        ValueError: there is no event with a time.
    """
    timed = [(at, event) for event in events if (at := _time(event.get("at"))) is not None]
    if not timed:
        raise ValueError("the journal holds no event")
    stages: list[Span] = []
    finished: set[str] = set()
    shards: dict[str, ShardTime] = {}
    estimated: Estimated | None = None
    left: set[dt.date] = set()
    for _, event in timed:
        try:
            match event["event"]:
                case "stage" | "stage_failed":
                    stages.append(_stage(event))
                    if event["event"] == "stage":
                        finished.add(str(event["stage"]))
                case "shard":
                    shard = _shard(event)
                    shards.setdefault(shard.key, shard)
                case "estimate":
                    newest = _estimated(event)
                    # What is tried again was expected once.
                    first = newest if estimated is None else estimated
                    estimated = replace(newest, expected=first.expected)
                case "budget":
                    left = set(map(dt.date.fromisoformat, event["days_left"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    closed = [span for span in stages if span.what == RECOGNISE]
    attempts = [*closed, *_cut_off(timed, closed, now)]
    attempts.sort(key=lambda span: span.began)
    private = estimated is None or estimated.private
    known = tuple(shards.values())
    return RunTimes(
        stages=tuple(span for span in stages if span.what != RECOGNISE),
        attempts=tuple(attempts),
        nodes=_own_node(timed, attempts) if private else _nodes(timed, attempts, known),
        shards=known,
        estimated=estimated,
        left=frozenset(left),
        finished=frozenset(finished),
        first=timed[0][0],
        last=max(at for at, _ in timed),
    )


def _time(said: Any) -> float | None:
    try:
        at = dt.datetime.fromisoformat(said)
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()


def _span(said: Mapping[str, Any]) -> tuple[float, float]:
    began, ended = _time(said["began"]), _time(said["ended"])
    if began is None or ended is None:
        raise ValueError("no times")
    # A clock that was set back in between.
    return began, max(began, ended)


def _stage(event: Mapping[str, Any]) -> Span:
    return Span(str(event["stage"]), *_span(event))


def _shard(event: Mapping[str, Any]) -> ShardTime:
    day = dt.date.fromisoformat(event["day"])
    node = str(event.get("node") or "")
    return ShardTime(str(event["key"]), day, node, *_span(event), int(event["images"]))


def _estimated(event: Mapping[str, Any]) -> Estimated:
    budget = event.get("budget")
    return Estimated(
        pipeline_version=str(event["pipeline_version"]),
        images={dt.date.fromisoformat(day): int(n) for day, n in event["images"].items()},
        private=bool(event.get("private", True)),
        prices=event.get("prices"),
        budget=None if budget is None else float(budget),
        reserve=float(event.get("reserve") or 0.0),
        expected={
            str(stage): {
                str(kind): {name: float(value) for name, value in numbers.items()}
                for kind, numbers in kinds.items()
            }
            for stage, kinds in (event.get("expected") or {}).items()
        },
    )


def _cut_off(
    timed: Iterable[tuple[float, Mapping[str, Any]]], closed: Sequence[Span], now: float | None
) -> list[Span]:
    """Attempts at the recognition of which no stage tells, since they were killed or still run."""
    found: list[Span] = []
    mark: float | None = None  # the last thing that was said before a job said anything
    began: float | None = None
    end = 0.0
    for at, event in timed:
        what = event["event"]
        # The stage's line follows those of its job, and a node's clock may be a little off.
        inside = any(span.began - 1 <= at <= span.ended + 1 for span in closed)
        if what in _OF_A_JOB and not inside:
            if began is None:
                began = at if mark is None or at - mark > LONGEST_GAP else mark
            end = max(end, at)
        elif what in {"stage", "stage_failed", "estimate"}:
            if began is not None:
                found.append(Span(RECOGNISE, began, end))
                began = None
            mark = at
        elif began is not None:
            end = max(end, at)
    if began is not None:
        found.append(Span(RECOGNISE, began, end if now is None else max(end, now)))
    elif now is not None and mark is not None:
        found.append(Span(RECOGNISE, mark, max(mark, now)))
    return found


def _own_node(
    timed: Iterable[tuple[float, Mapping[str, Any]]], attempts: Sequence[Span]
) -> tuple[Span, ...]:
    """The node of a private cluster: the machine is there from an attempt's begin to its end."""
    kinds = [
        (at, str(event.get("kind") or "cpu"), str(event.get("node") or ""))
        for at, event in timed
        if event["event"] == "node_up"
    ]
    nodes = []
    for attempt in attempts:
        up = [found for found in kinds if found[0] <= attempt.ended + 1]
        _, kind, node = up[-1] if up else (0.0, "cpu", "")
        nodes.append(Span(kind, attempt.began, attempt.ended, node))
    return tuple(nodes)


def _nodes(
    timed: Iterable[tuple[float, Mapping[str, Any]]],
    attempts: Sequence[Span],
    shards: Iterable[ShardTime],
) -> tuple[Span, ...]:
    """The nodes of a cluster somewhere else, from when they were seen until they were gone."""
    nodes: list[Span] = []
    up: dict[str, tuple[float, str]] = {}

    def down(node: str, at: float) -> None:
        began, kind = up.pop(node)
        nodes.append(Span(kind, began, max(began, at), node))

    def last(began: float) -> float:
        """The end of the attempt that a node came up in."""
        ends = [span.ended for span in attempts if span.began - 1 <= began <= span.ended + 1]
        return max(ends, default=began)

    for at, event in timed:
        node = str(event.get("node") or "")
        if event["event"] == "node_up":
            if node in up:
                down(node, min(at, last(up[node][0])))
            up[node] = (at, str(event.get("kind") or "cpu"))
        elif event["event"] == "node_down" and node in up:
            down(node, at)
    for node in list(up):
        down(node, last(up[node][0]))
    # A node that nobody saw coming has worked all the same.
    seen = {node.node for node in nodes}
    unseen: dict[str, list[ShardTime]] = {}
    for shard in shards:
        if shard.node not in seen:
            unseen.setdefault(shard.node, []).append(shard)
    for name, done in unseen.items():
        nodes.append(
            Span("cpu", min(one.began for one in done), max(one.ended for one in done), name)
        )
    return tuple(nodes)
