"""The course of a night, read from its journal: stages, nodes and workers, speed, what was lost.

A journal may be cut off anywhere or hold lines of another release: what says nothing that is
understood is passed over, as by the costs.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from platemill.costs.events import RECOGNISE, RunTimes, ShardTime, run_times
from platemill.report.moments import Bar, Lane, LostPart, Mark, StageTry, Times

__all__ = ["course"]

_STEPS: Final = 60
_LANES: Final = 24
_BARS: Final = 240
_LOST: Final = 40
# A cluster that is given back is not lost.
_ENDED_WELL: Final = frozenset({"job ended"})


def course(events: Sequence[Mapping[str, Any]], now: datetime | None = None) -> Times | None:
    """Read a journal; None if it holds nothing.

    Args:
        events: ``read_journal``'s.
        now: the run goes on: what is open ends now.
    """
    try:
        times = run_times(events, None if now is None else now.timestamp())
    except ValueError:
        return None
    tries = sorted(_tries(events, times), key=lambda one: one.began)
    shards = list(_shards(events))
    begins = [one.began for one in tries] + [one.time.began for one in shards] + [times.first]
    ends = [one.ended for one in tries] + [one.time.ended for one in shards] + [times.last]
    if now is not None:
        ends.append(now.timestamp())
    zero, end = min(begins), max(ends)
    lost = list(_lost(events, zero))
    nodes, more = _nodes(events, times, shards, zero)
    span = end - zero
    rate_began, step, rate = _rate([one.time for one in shards], zero)
    return Times(
        began=datetime.fromtimestamp(zero, UTC),
        seconds=span,
        tries=tuple(replace(t, began=t.began - zero, ended=t.ended - zero) for t in tries),
        nodes=tuple(replace(lane, bars=tuple(_thinned(lane.bars, span))) for lane in nodes),
        more_workers=more,
        rate=rate,
        rate_began=rate_began,
        step=step,
        lost=tuple(lost[:_LOST]),
        more_lost=sum(part.times for part in lost[_LOST:]),
    )


@dataclass(frozen=True)
class _Shard:
    time: ShardTime
    worker: str
    plates: int


def _tries(events: Iterable[Mapping[str, Any]], times: RunTimes) -> Iterator[StageTry]:
    """Attempts at stages, in seconds since 1970; those that nobody ended, too."""
    closed = set()
    for event in events:
        if event["event"] not in ("stage", "stage_failed"):
            continue
        with contextlib.suppress(KeyError, TypeError, ValueError):
            began, ended = _second(event["began"]), _second(event["ended"])
            if event["stage"] == RECOGNISE:
                closed.add(began)
            yield StageTry(
                str(event["stage"]),
                began,
                max(began, ended),
                int(event.get("attempt") or 1),
                str(event.get("error") or ""),
                str(event.get("text") or ""),
            )
    for span in times.attempts:
        if span.began not in closed:
            yield StageTry(RECOGNISE, span.began, span.ended, is_open=True)


def _shards(events: Iterable[Mapping[str, Any]]) -> Iterator[_Shard]:
    seen = set()
    for event in events:
        if event["event"] != "shard" or event.get("key") in seen:
            continue
        with contextlib.suppress(KeyError, TypeError, ValueError):
            began, ended = _second(event["began"]), _second(event["ended"])
            day = datetime.fromisoformat(event["day"]).date()
            node, images = str(event.get("node") or ""), int(event["images"])
            time = ShardTime(event["key"], day, node, began, max(began, ended), images)
            seen.add(event["key"])
            yield _Shard(time, str(event.get("worker") or ""), int(event.get("plates") or 0))


def _nodes(
    events: Sequence[Mapping[str, Any]], times: RunTimes, shards: Sequence[_Shard], zero: float
) -> tuple[list[Lane], int]:
    """Lanes of nodes, each followed by its workers; and how many workers have none."""
    workers: dict[str, dict[str, list[_Shard]]] = defaultdict(lambda: defaultdict(list))
    for shard in shards:
        workers[shard.time.node][shard.worker].append(shard)
    up: dict[str, list[Bar]] = defaultdict(list)
    for span in times.nodes:
        said = f"up for {span.seconds:.0f} s"
        up[span.node].append(Bar(span.began - zero, span.ended - zero, said, span.what))
    marks = _marks(events, zero)

    def begins(node: str) -> tuple[float, str]:
        shards_of = [shard for mine in workers.get(node, {}).values() for shard in mine]
        worked = [shard.time.began - zero for shard in shards_of]
        return min([bar.began for bar in up[node]] + worked), node

    lanes: list[Lane] = []
    for name in sorted(up.keys() | workers.keys(), key=begins):
        lanes.append(_node_lane(name, up[name], marks.get(name, ()), workers[name]))
        lanes += [
            _worker_lane(*worker, zero) for worker in sorted(workers[name].items(), key=_by_number)
        ]
    # The first that came: a page is no place for hundreds.
    more = sum(lane.kind == "worker" for lane in lanes[_LANES:])
    return lanes[:_LANES], more


def _by_number(worker: tuple[str, list[_Shard]]) -> tuple[int, str]:
    """``w9`` comes before ``w10``."""
    return len(worker[0]), worker[0]


def _node_lane(
    name: str,
    up: Sequence[Bar],
    marks: Sequence[Mark],
    workers: Mapping[str, Sequence[_Shard]],
) -> Lane:
    images = sum(shard.time.images for mine in workers.values() for shard in mine)
    kinds = sorted({bar.kind for bar in up})
    label = " ".join(filter(None, ("node", name, *(f"({kind})" for kind in kinds))))
    note = f"{images:,} images" if images else "no image"
    return Lane(label, "node", tuple(up), tuple(marks), note)


def _worker_lane(name: str, shards: Sequence[_Shard], zero: float) -> Lane:
    bars = []
    for shard in sorted(shards, key=lambda shard: shard.time.began):
        time = shard.time
        said = (
            f"{time.images:,} images of {time.day}, {shard.plates:,} plates, "
            f"{time.ended - time.began:.1f} s"
        )
        bars.append(Bar(time.began - zero, time.ended - zero, said, "shard"))
    note = f"{sum(shard.time.images for shard in shards):,} images in {len(shards):,} shards"
    return Lane(name or "worker", "worker", tuple(bars), (), note)


def _marks(events: Iterable[Mapping[str, Any]], zero: float) -> dict[str, list[Mark]]:
    """What happened to nodes and what runs on them."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for event in events:
        node = str(event.get("node") or "")
        with contextlib.suppress(KeyError, TypeError, ValueError):
            at = _second(event["at"]) - zero
            match event["event"]:
                case "server_ready":
                    found[node].append(Mark(at, "Triton is ready", "ready"))
                case "server_lost":
                    found[node].append(Mark(at, f"Triton is lost: {event.get('why')}", "lost"))
                case "worker_lost":
                    found[node].append(Mark(at, f"a worker is lost: {event.get('why')}", "lost"))
                case "node_down" if not _is_well(event):
                    found[node].append(Mark(at, f"the node is gone: {event.get('why')}", "lost"))
    return found


def _is_well(event: Mapping[str, Any]) -> bool:
    return str(event.get("why") or "").strip() in _ENDED_WELL


_LOSSES: Final = {
    "server_lost": "Triton server",
    "worker_lost": "worker",
    "node_down": "node",
    "shard_failed": "shard, to be tried again",
}


def _lost(events: Iterable[Mapping[str, Any]], zero: float) -> Iterator[LostPart]:
    """What went away or failed; the same in a row is told once."""
    last: LostPart | None = None
    for event in events:
        what = _LOSSES.get(event["event"])
        if what is None or (event["event"] == "node_down" and _is_well(event)):
            continue
        try:
            at = _second(event["at"]) - zero
        except (KeyError, TypeError, ValueError):
            continue
        where = str(event.get("node") or event.get("key") or "")[:12]
        why = str(event.get("why") or "")
        same = last is not None and (last.what, last.why) == (what, why)
        if last is not None and same and (last.where == where or event["event"] == "shard_failed"):
            last = replace(last, times=last.times + 1)
            continue
        if last is not None:
            yield last
        last = LostPart(at, what, where, why)
    if last is not None:
        yield last


def _rate(shards: Sequence[ShardTime], zero: float) -> tuple[float, float, tuple[float, ...]]:
    """Images a second at equal steps: each shard's images are spread over its own time."""
    if not shards:
        return 0.0, 1.0, ()
    began = min(shard.began for shard in shards)
    ended = max(shard.ended for shard in shards)
    step = max((ended - began) / _STEPS, 0.001)
    images = [0.0] * _STEPS
    for shard in shards:
        length = max(shard.ended - shard.began, 0.001)
        first = min(int((shard.began - began) / step), _STEPS - 1)
        for place in range(first, _STEPS):
            left, right = began + place * step, began + (place + 1) * step
            inside = min(right, shard.began + length) - max(left, shard.began)
            if inside <= 0:
                break
            images[place] += shard.images * inside / length
    return began - zero, step, tuple(count / step for count in images)


def _thinned(bars: Sequence[Bar], span: float) -> Iterator[Bar]:
    """Bars of a lane; if they are very many, those that touch are drawn as one."""
    if len(bars) <= _BARS:
        yield from bars
        return
    least = span / _BARS
    open_bar: Bar | None = None
    many = 0
    for bar in bars:
        is_near = open_bar is not None and bar.began - open_bar.ended < least
        is_short = open_bar is not None and bar.ended - open_bar.began < 2 * least
        if open_bar is not None and is_near and is_short:
            many += 1
            ended = max(open_bar.ended, bar.ended)
            open_bar = replace(open_bar, ended=ended, said=f"{many} shards")
            continue
        if open_bar is not None:
            yield open_bar
        open_bar, many = bar, 1
    if open_bar is not None:
        yield open_bar


def _second(said: Any) -> float:
    at = datetime.fromisoformat(said)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
