"""What a run took and cost, by stage, day and kind of node: the rows of ``run_costs``.

Time of nodes is shared among the days of the images that it was spent on:

- the recognition by the seconds that shards of a day were worked on, node by node;
- what its nodes waited, for their first shard or for another one, in the same shares;
- every other stage by the images of the days.

Nothing is lost on the way: the days' shares add up to the stage, and the stages to the run.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from platemill.costs.events import RECOGNISE, RunTimes, ShardTime, Span, run_times
from platemill.costs.prices import HOUR, Prices

__all__ = [
    "BETWEEN",
    "IDLE",
    "START",
    "cost_rows",
    "node_seconds",
    "totals",
]

START: Final = "recognise_start"
IDLE: Final = "recognise_idle"
BETWEEN: Final = "between"
_PUBLISHED: Final = "published"
_STOPPED: Final = "stopped"
_NOTHING_NEW: Final = "nothing_new"
_BEFORE: Final = frozenset({"inventory", "plan", BETWEEN})
_MILLION: Final = 1_000_000

Shares = dict[dt.date | None, float]
"""What part of something belongs to each day; they add up to 1. None: to no image."""


@dataclass(frozen=True)
class _Charge:
    """Time on nodes of a kind in a stage, and how it is shared among days.

    seconds: by the clock. images: of each day, those that went through.
    """

    stage: str
    kind: str
    seconds: float
    node_seconds: float
    shares: Shares
    images: Mapping[dt.date, int]


def cost_rows(
    run_id: str,
    events: Sequence[Mapping[str, Any]],
    prices: Prices,
    *,
    pipeline_version: str | None = None,
    published: bool = False,
) -> list[dict[str, Any]]:
    """The rows of a run, from its journal; none if the journal holds nothing.

    Args:
        run_id: the run.
        events: its journal.
        prices: the price table, if the journal has none: of a run that never recognised.
        pipeline_version: of its plan, if the journal does not say it.
        published: it is about to publish, which its journal cannot know.
    """
    try:
        times = run_times(events)
    except ValueError:
        return []
    estimated = times.estimated
    if estimated is not None:
        pipeline_version = estimated.pipeline_version
        try:
            prices = Prices.from_json(estimated.prices)
        except ValueError:
            prices = Prices()
    outcome = _PUBLISHED if published else _outcome(times)
    rows = []
    for charge in _charges(times):
        expected: Mapping[str, float] = {}
        if estimated is not None:
            expected = estimated.expected.get(charge.stage, {}).get(charge.kind, {})
        for day, share in sorted(charge.shares.items(), key=lambda item: str(item[0])):
            images = 0 if day is None else charge.images.get(day, 0)
            spent = charge.node_seconds * share
            price = prices.price(charge.kind, spent)
            row = {
                "run_id": run_id,
                "run_day": _utc(times.first).date(),
                "outcome": outcome,
                "stage": charge.stage,
                "day": day,
                "pipeline_version": pipeline_version,
                "node_kind": charge.kind,
                "images": images,
                "seconds": charge.seconds * share,
                "node_seconds": spent,
                "price": price,
                "currency": None if price is None else prices.currency,
                "estimated_seconds": None,
                "estimated_price": None,
                "cost_per_million_images": None,
                "through": _utc(times.last),
            }
            if expected:
                row["estimated_seconds"] = expected.get("seconds", 0.0) * share
                foreseen = expected.get("node_seconds", 0.0) * share
                row["estimated_price"] = prices.price(charge.kind, foreseen)
            if price is not None and images:
                row["cost_per_million_images"] = price / images * _MILLION
            rows.append(row)
    return rows


def node_seconds(times: RunTimes) -> dict[str, float]:
    """The time that nodes were up for a run, by their kind."""
    found: dict[str, float] = defaultdict(float)
    for charge in _charges(times):
        found[charge.kind] += charge.node_seconds
    return dict(found)


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of one run added up, as a summary tells them.

    Returns:
        ``node_hours, price, currency, estimated_price, estimated_seconds, seconds,
        cost_per_million_images`` and ``stages``, each with ``seconds, node_hours, price,
        estimated_seconds, estimated_price``. A price is None if a part of it has none.
    """
    told = list(rows)
    stages: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in told:
        stages[row["stage"]].append(row)
    price = _sum(told, "price")
    images = sum(row["images"] for row in stages.get(RECOGNISE, []))
    million = None if price is None or not images else round(price / images * _MILLION, 4)
    return {
        **_added(told),
        "currency": next((row["currency"] for row in told if row["currency"]), None),
        "cost_per_million_images": million,
        "stages": {stage: _added(part) for stage, part in stages.items()},
    }


def _added(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    hours = sum(row["node_seconds"] for row in rows) / HOUR
    estimated_seconds = [r["estimated_seconds"] for r in rows if r["estimated_seconds"] is not None]
    estimated_price = [r["estimated_price"] for r in rows if r["estimated_price"] is not None]
    return {
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "estimated_seconds": round(sum(estimated_seconds), 3) if estimated_seconds else None,
        "node_hours": round(hours, 6),
        "price": _sum(rows, "price"),
        "estimated_price": round(sum(estimated_price), 6) if estimated_price else None,
    }


def _sum(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values: list[float | None] = [
        row[name] for row in rows if row["node_seconds"] or row[name] is not None
    ]
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known and len(known) == len(values) else None


def _outcome(times: RunTimes) -> str:
    if "publish" in times.finished:
        return _PUBLISHED
    is_quiet = times.estimated is None and not times.attempts and "plan" in times.finished
    return _NOTHING_NEW if is_quiet else _STOPPED


def _charges(times: RunTimes) -> list[_Charge]:
    return [*_other_stages(times), *_recognition(times)]


def _other_stages(times: RunTimes) -> Iterator[_Charge]:
    seconds: dict[str, float] = defaultdict(float)
    for span in times.stages:
        seconds[span.what] += span.seconds
    if times.between:
        seconds[BETWEEN] = times.between
    planned = _planned(times)
    merged = {day: images for day, images in planned.items() if day not in times.left}
    for stage, spent in seconds.items():
        images = planned if stage in _BEFORE else merged
        yield _Charge(stage, times.own_kind, spent, spent, _shares(images), images)


def _planned(times: RunTimes) -> Mapping[dt.date, int]:
    if times.estimated is not None and any(times.estimated.images.values()):
        return {day: images for day, images in times.estimated.images.items() if images}
    images: dict[dt.date, int] = defaultdict(int)
    for shard in times.shards:
        images[shard.day] += shard.images
    return images


def _recognition(times: RunTimes) -> Iterator[_Charge]:
    """The recognition's nodes: what they worked, and what they waited before and in between."""
    kinds: dict[str, dict[str, float]] = {}
    worked: dict[str, dict[dt.date, float]] = {}
    images: dict[str, dict[dt.date, int]] = {}
    for node, mine in _by_node(times):
        start, busy = _start_and_busy(node, mine)
        spent = kinds.setdefault(node.what, dict.fromkeys((START, RECOGNISE, IDLE), 0.0))
        spent[START] += start
        spent[RECOGNISE] += busy
        spent[IDLE] += max(0.0, node.seconds - start - busy)
        effort = _effort(node, mine)
        whole = sum(effort.values())
        of_kind = worked.setdefault(node.what, defaultdict(float))
        done = images.setdefault(node.what, defaultdict(int))
        for day, seconds in effort.items():
            of_kind[day] += busy * (seconds / whole if whole else 1 / len(effort))
        for shard in mine:
            done[shard.day] += shard.images
    total = sum(sum(spent.values()) for spent in kinds.values())
    clock = sum(span.seconds for span in times.attempts)
    everywhere: dict[dt.date, float] = defaultdict(float)
    for of_kind in worked.values():
        for day, seconds in of_kind.items():
            everywhere[day] += seconds
    for kind, spent in kinds.items():
        days = _shares(worked[kind]) if worked[kind] else _shares(everywhere or _planned(times))
        for stage, seconds in spent.items():
            # The clock's time is told once, however many nodes there are.
            share = seconds / total if total else 0.0
            yield _Charge(stage, kind, clock * share, seconds, days, images[kind])


def _by_node(times: RunTimes) -> list[tuple[Span, list[ShardTime]]]:
    """The shards that were worked on while each node was up; every shard is with one of them."""
    # The machine of a private cluster has another id at every attempt.
    is_private = times.estimated is None or times.estimated.private
    found: list[tuple[Span, list[ShardTime]]] = [(node, []) for node in times.nodes]
    for shard in times.shards:

        def away(place: tuple[Span, list[ShardTime]], shard: ShardTime = shard) -> float:
            node = place[0]
            return max(0.0, node.began - shard.ended, shard.began - node.ended)

        theirs = [place for place in found if is_private or place[0].node == shard.node]
        min(theirs, key=away)[1].append(shard)
    return found


def _start_and_busy(node: Span, shards: Iterable[ShardTime]) -> tuple[float, float]:
    """Seconds up to the node's first shard, and those in which any shard was worked on."""
    start: float | None = None
    busy, end = 0.0, node.began
    for began, ended in sorted((s.began, s.ended) for s in shards):
        began = min(max(began, node.began), node.ended)
        ended = min(max(ended, began), node.ended)
        if start is None:
            start = began - node.began
        busy += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return (node.seconds if start is None else start), busy


def _effort(node: Span, shards: Iterable[ShardTime]) -> dict[dt.date, float]:
    """Seconds that shards of each day were worked on; of two at once both count."""
    seconds: dict[dt.date, float] = defaultdict(float)
    for shard in shards:
        began = min(max(shard.began, node.began), node.ended)
        seconds[shard.day] += max(0.0, min(shard.ended, node.ended) - began)
    return seconds


def _shares(weights: Mapping[dt.date, float]) -> Shares:
    total = sum(weights.values())
    if total > 0:
        return {day: weight / total for day, weight in weights.items()}
    if weights:
        return dict.fromkeys(weights, 1 / len(weights))
    return {None: 1.0}


def _utc(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)
