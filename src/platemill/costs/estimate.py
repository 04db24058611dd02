"""What a night is expected to take and cost, from what nights before it took.

Of the last ten runs that recognised anything on the same kinds of nodes, under the same pipeline
version if there is any such run, the three whose number of images is nearest are asked; what is
told is the median of their answers. One run's answer:

| stage | answer |
|---|---|
| recognise | its node-seconds an image, times the images |
| recognise_idle | its idle share of that |
| recognise_start | what it took: nodes come up once |
| the others | what it took; more in proportion if the night has more images |

A night that is smaller than all before it is thus expected to cost more than it will, not less.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from platemill.costs.actual import IDLE, START
from platemill.costs.events import RECOGNISE
from platemill.costs.prices import HOUR, Prices

__all__ = ["LATER", "RUNS", "DayWork", "Estimate", "Rates", "StageEstimate", "estimate", "rates_of"]

RUNS: Final = 10
"""Runs that are looked at."""

LATER: Final = ("facts", "tiles", "checks", "features", "publish")
"""The stages after the recognition."""

_NEAREST: Final = 3
_OF_NODES: Final = (START, RECOGNISE, IDLE)


@dataclass(frozen=True, slots=True)
class DayWork:
    """What a night has to do of a day.

    Args:
        day: the UTC day.
        images: its images in the plan.
        shards: its shards.
        recorded: images of shards that a run before recognised and did not publish.
        bytes: size of the encoded images; None if nobody asked.
    """

    day: dt.date
    images: int
    shards: int
    recorded: int = 0
    bytes: int | None = None


@dataclass(frozen=True)
class _Run:
    """A run's stages: (stage, node kind) → (seconds, node-seconds), and the images of each part."""

    recognised: int
    merged: int
    stages: Mapping[tuple[str, str], tuple[float, float]]

    def nodes(self, kind: str | None = None) -> float:
        """Node-seconds of the recognition, of a kind or of all."""
        return sum(
            spent
            for (stage, of), (_, spent) in self.stages.items()
            if stage in _OF_NODES and kind in (None, of)
        )

    @property
    def at_once(self) -> float:
        """How many nodes were up at a time, on average."""
        clock = sum(s for (stage, _), (s, _) in self.stages.items() if stage in _OF_NODES)
        return self.nodes() / clock if clock else 1.0


@dataclass(frozen=True)
class Rates:
    """What runs took.

    Attributes:
        run_ids: the runs, the newest first.
        images: what they recognised in all.
        kinds: the kinds of nodes that they recognised on.
        same_pipeline: whether they had the pipeline version that was asked for.
    """

    run_ids: tuple[str, ...]
    images: int
    kinds: tuple[str, ...]
    same_pipeline: bool
    _runs: tuple[_Run, ...] = field(repr=False, default=())

    def to_json(self) -> dict[str, object]:
        """As a JSON document tells it."""
        return {
            "runs": list(self.run_ids),
            "images": self.images,
            "node_kinds": list(self.kinds),
            "same_pipeline": self.same_pipeline,
        }

    def nearest(self, images: int, stage: str = RECOGNISE) -> list[_Run]:
        """The runs with that stage whose number of images is nearest, as a ratio."""

        def distance(run: _Run) -> float:
            return abs(math.log(max(images, 1) / run.recognised))

        there = [run for run in self._runs if any(of == stage for of, _ in run.stages)]
        return sorted(there, key=distance)[:_NEAREST]

    @property
    def own_kind(self) -> str:
        """The kind of the machine that the other stages ran on, last."""
        kinds = [k for run in self._runs for stage, k in run.stages if stage not in _OF_NODES]
        return kinds[0] if kinds else "cpu"


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage is expected to take: by the clock, on nodes, and, with prices, in money."""

    stage: str
    node_kind: str
    seconds: float
    node_seconds: float
    price: float | None


@dataclass(frozen=True)
class Estimate:
    """What a night is expected to take.

    Attributes:
        days: its work.
        stages: in order; None: nothing like it was ever measured.
        rates: what was measured; None if nothing was.
        prices: the price table.
    """

    days: tuple[DayWork, ...]
    stages: tuple[StageEstimate, ...] | None
    rates: Rates | None
    prices: Prices

    @property
    def images(self) -> int:
        """Images of the plan."""
        return sum(day.images for day in self.days)

    @property
    def seconds(self) -> float | None:
        """From the begin of the night to its end; None if nothing is known."""
        return None if self.stages is None else sum(stage.seconds for stage in self.stages)

    @property
    def node_hours(self) -> float | None:
        """Time on nodes; None if nothing is known."""
        if self.stages is None:
            return None
        return sum(stage.node_seconds for stage in self.stages) / HOUR

    @property
    def price(self) -> float | None:
        """None if nothing is known or a kind of node has no price."""
        if self.stages is None:
            return None
        return _all_or_none(stage.price for stage in self.stages)

    @property
    def reserve(self) -> float:
        """What the stages after the recognition cost, as far as they have a price."""
        return sum(stage.price or 0.0 for stage in self.stages or () if stage.stage in LATER)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Kinds of nodes without a price, sorted."""
        return tuple(sorted({s.node_kind for s in self.stages or () if s.price is None}))

    def expected(self) -> dict[str, dict[str, dict[str, float]]]:
        """Stage → node kind → ``seconds`` and ``node_seconds``, for the journal."""
        found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
        for stage in self.stages or ():
            numbers = {"seconds": stage.seconds, "node_seconds": stage.node_seconds}
            found[stage.stage][stage.node_kind] = numbers
        return dict(found)


def rates_of(rows: Iterable[Mapping[str, Any]], pipeline_version: str) -> Rates | None:
    """What the last runs took, from rows of ``run_costs``.

    They are of the kinds of nodes that the newest run recognised on. If no run had the pipeline
    version, runs of others are asked: a new model's first night is the dearest.

    Args:
        rows: of any runs.
        pipeline_version: what the night will recognise with.
    """
    by_run: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    known = [(run_id, told, _run(told)) for run_id, told in by_run.items()]
    known = [found for found in known if found[2].recognised > 0]
    known.sort(key=lambda found: (found[1][0]["through"], found[0]), reverse=True)
    same = [found for found in known if found[1][0]["pipeline_version"] == pipeline_version]
    chosen = same or known
    if not chosen:
        return None
    kinds = _kinds(chosen[0][2])
    chosen = [found for found in chosen if _kinds(found[2]) == kinds][:RUNS]
    return Rates(
        run_ids=tuple(run_id for run_id, _, _ in chosen),
        images=sum(run.recognised for _, _, run in chosen),
        kinds=kinds,
        same_pipeline=bool(same),
        _runs=tuple(run for _, _, run in chosen),
    )


def estimate(
    days: Sequence[DayWork],
    rates: Rates | None,
    prices: Prices,
    measured: Mapping[str, float] | None = None,
) -> Estimate:
    """What a night over some days is expected to take.

    Args:
        days: its work.
        rates: what nights before it took; None if nothing is known.
        prices: the price table.
        measured: seconds of stages that are done already, the inventory and the plan.
    """
    if rates is None:
        return Estimate(tuple(days), None, None, prices)
    merged = sum(day.images for day in days)
    todo = merged - sum(day.recorded for day in days)
    done = measured or {}
    own = rates.own_kind
    runs = rates.nearest(todo)
    at_once = max(1.0, median(run.at_once for run in runs))
    stages: list[StageEstimate] = []

    def add(stage: str, kind: str, node_seconds: float, clock: float) -> None:
        price = prices.price(kind, node_seconds)
        stages.append(StageEstimate(stage, kind, clock, node_seconds, price))

    def other(stage: str) -> None:
        if stage in done:
            add(stage, own, done[stage], done[stage])
            return
        told = [_in_proportion(run, stage, merged) for run in rates.nearest(merged, stage)]
        seconds = median(told or [0.0])
        add(stage, own, seconds, seconds)

    other("inventory")
    other("plan")
    for kind in rates.kinds if todo else ():
        for stage, of in _OF_A_NODE.items():
            spent = median(of(run, kind, todo) for run in runs)
            add(stage, kind, spent, spent / at_once)
    for stage in ("between", *LATER):
        other(stage)
    return Estimate(tuple(days), tuple(stages), rates, prices)


def _run(rows: Iterable[Mapping[str, Any]]) -> _Run:
    stages: dict[tuple[str, str], tuple[float, float]] = {}
    images: dict[str, int] = defaultdict(int)
    for row in rows:
        place = (row["stage"], row["node_kind"])
        seconds, spent = stages.get(place, (0.0, 0.0))
        stages[place] = (seconds + row["seconds"], spent + row["node_seconds"])
        images[row["stage"]] += row["images"]
    merged = max((images[stage] for stage in LATER), default=0) or images["plan"]
    return _Run(images[RECOGNISE], merged or images[RECOGNISE], stages)


def _kinds(run: _Run) -> tuple[str, ...]:
    return tuple(sorted({kind for stage, kind in run.stages if stage in _OF_NODES}))


def _spent(run: _Run, stage: str, kind: str) -> float:
    return run.stages.get((stage, kind), (0.0, 0.0))[1]


def _start(run: _Run, kind: str, _images: int) -> float:
    return _spent(run, START, kind)


def _work(run: _Run, kind: str, images: int) -> float:
    return _spent(run, RECOGNISE, kind) / run.recognised * images


def _idle(run: _Run, kind: str, images: int) -> float:
    return _spent(run, IDLE, kind) / run.recognised * images


_OF_A_NODE: Final[Mapping[str, Callable[[_Run, str, int], float]]] = {
    START: _start,
    RECOGNISE: _work,
    IDLE: _idle,
}


def _in_proportion(run: _Run, stage: str, images: int) -> float:
    """What a stage took, and more for more images; never less, since it does not begin at none."""
    seconds = sum(spent for (of, _), (spent, _) in run.stages.items() if of == stage)
    return seconds * max(1.0, images / run.merged)


def _all_or_none(prices: Iterable[float | None]) -> float | None:
    found = list(prices)
    return None if None in found else sum(price for price in found if price is not None)
