"""A run's metrics for Prometheus, made of its journal.

Whoever has the run's folder can tell them: the flow while the run goes on, and anybody after it.
Nothing is counted where images are recognised.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from platemill.journal import JournalTail
from platemill.observe.rate import Rate
from platemill.schema import ImageStatus

__all__ = ["LAST_RUN", "METRICS", "RunMetrics", "write_metrics"]

METRICS: Final = "metrics.prom"
"""In a run's folder: its metrics at its end."""

LAST_RUN: Final = "last-run.prom"
"""In the home's folder of metrics: those of the run that ended last."""

_BUCKETS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_RECOGNISE: Final = "recognise"


@dataclass
class _Node:
    kind: str
    up_at: float
    down_at: float | None = None

    def seconds(self, now: float) -> float:
        return max(0.0, (now if self.down_at is None else self.down_at) - self.up_at)


class RunMetrics(Collector):
    """The metrics of one run, as far as its journal goes when they are asked for.

    Args:
        folder: the run's folder.
        run_id: the run.
        clock: seconds since the epoch.
    """

    def __init__(self, folder: Path, run_id: str, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._tail = JournalTail(folder)
        self._run_id = run_id
        self._clock = clock
        self._ended: tuple[bool, float] | None = None
        self._began: float | None = None
        self._progress: dict[str, int] = {}
        self._at = 0.0
        self._rate = Rate(clock=lambda: self._at)
        self._works = False
        self._images: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._stages: dict[str, float] = {}
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._nodes: dict[str, _Node] = {}
        self._gone_seconds: defaultdict[str, float] = defaultdict(float)
        self._buckets: Counter[float] = Counter()
        self._shard_seconds = 0.0
        self._server_seconds: float | None = None

    def end(self, succeeded: bool) -> None:
        """The run has ended now."""
        self._ended = (succeeded, self._clock())

    def collect(self) -> Iterator[Metric]:
        """Every metric; those of which nothing is known yet without a value."""
        with self._lock:
            for event in self._tail.new():
                # One that is not as it should be costs itself, not the others.
                with suppress(KeyError, TypeError, ValueError):
                    self._take(event)
            yield from [
                *self._of_the_run(),
                *self._of_images(),
                *self._of_shards(),
                *self._of_stages(),
                *self._of_nodes(),
            ]

    def text(self) -> str:
        """All of them in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry).decode()

    def _take(self, event: dict[str, Any]) -> None:
        at = _seconds(event["at"])
        self._began = at if self._began is None else self._began
        match event["event"]:
            case "stage" | "stage_failed":
                self._take_stage(event, at)
            case "shard":
                self._take_shard(event)
            case "progress":
                self._works, self._at = True, at
                self._progress = {k: v for k, v in event.items() if isinstance(v, int)}
                self._rate.count(event["images_done"])
            case "node_up":
                self._leave(event["node"], at)
                self._nodes[event["node"]] = _Node(event["kind"], at)
            case "node_down":
                self._leave(event["node"], at)
            case "server_ready":
                self._sums["servers_started"] += 1
                self._server_seconds = event["seconds"]
            case "server_lost" | "worker_lost" | "shard_failed" as name:
                self._sums[name] += 1

    def _take_stage(self, event: dict[str, Any], at: float) -> None:
        stage, well = event["stage"], event["event"] == "stage"
        began = _seconds(event["began"])
        self._began = began if self._began is None else min(began, self._began)
        self._stages[stage] = self._stages.get(stage, 0.0) + event["seconds"]
        self._attempts[stage, "ended" if well else "failed"] += 1
        if stage == _RECOGNISE:
            self._works = False
            # A job that was killed says nothing of its nodes.
            for node in list(self._nodes):
                self._leave(node, at)

    def _take_shard(self, event: dict[str, Any]) -> None:
        for status in ImageStatus:
            self._images[status.value] += event[status.value]
        self._sums["shards"] += 1
        self._sums["plates"] += event["plates"]
        self._sums["bytes"] += event["bytes"]
        seconds = _seconds(event["ended"]) - _seconds(event["began"])
        self._shard_seconds += seconds
        self._buckets[next((b for b in _BUCKETS if seconds <= b), float("inf"))] += 1

    def _leave(self, name: str, at: float) -> None:
        node = self._nodes.pop(name, None)
        if node is not None:
            node.down_at = at
            self._gone_seconds[node.kind] += node.seconds(at)

    def _of_the_run(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("platemill_run_info", "Which run it is.", labels=["run_id"])
        info.add_metric([self._run_id], 1)
        yield info
        yield _gauge("run_start_time_seconds", "When the run began, Unix time.", self._began)
        ended = self._ended
        yield _gauge(
            "run_end_time_seconds",
            "When the run ended, Unix time; without a value while it goes on.",
            None if ended is None else ended[1],
        )
        yield _gauge(
            "run_succeeded",
            "1 if the run ended well, 0 if not; without a value while it goes on.",
            None if ended is None else float(ended[0]),
        )

    def _of_images(self) -> Iterator[Metric]:
        progress = self._progress
        yield _gauge("images_planned", "Images to recognise.", progress.get("images_total"))
        yield _gauge(
            "images_done",
            "Images with a result, of shards that are not recorded yet, too.",
            progress.get("images_done"),
        )
        now = self._clock()
        rate = left = None
        if self._works and self._ended is None:
            self._at = max(self._at, now)
            rate = self._rate.a_second()
            left = self._rate.seconds_left(progress.get("images_total", 0))
        yield _gauge(
            "images_per_second", "Images a second over the last minute, while they are made.", rate
        )
        yield _gauge("seconds_left", "Time left for recognition at that rate.", left)
        images = CounterMetricFamily(
            "platemill_images", "Images of recorded shards, by status.", labels=["status"]
        )
        for status in ImageStatus:
            images.add_metric([status.value], self._images[status.value])
        yield images
        yield _counter("plates", "Plates of recorded shards.", self._sums["plates"])
        yield _counter("image_bytes", "Bytes of images of recorded shards.", self._sums["bytes"])

    def _of_shards(self) -> Iterator[Metric]:
        yield _gauge("shards_planned", "Shards to record.", self._progress.get("shards_total"))
        yield _counter("shards", "Shards recorded by this run.", self._sums["shards"])
        yield _counter(
            "shard_failures",
            "Attempts at shards that failed, whatever the reason.",
            self._sums["shard_failed"],
        )
        sums, buckets = 0, []
        for bound in (*_BUCKETS, float("inf")):
            sums += self._buckets[bound]
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(sums)))
        yield HistogramMetricFamily(
            "platemill_shard_seconds",
            "From the first image of a shard to its record.",
            buckets=buckets,
            sum_value=self._shard_seconds,
        )

    def _of_stages(self) -> Iterator[Metric]:
        seconds = GaugeMetricFamily(
            "platemill_stage_seconds",
            "Time of a stage, over all attempts.",
            labels=["stage"],
        )
        for stage, spent in self._stages.items():
            seconds.add_metric([stage], spent)
        yield seconds
        attempts = CounterMetricFamily(
            "platemill_stage_attempts",
            "Attempts at a stage, by how they ended: ended or failed.",
            labels=["stage", "result"],
        )
        for key, count in self._attempts.items():
            attempts.add_metric(list(key), count)
        yield attempts

    def _of_nodes(self) -> Iterator[Metric]:
        now = self._clock()
        up = GaugeMetricFamily("platemill_nodes", "Nodes that are there now.", labels=["kind"])
        spent = CounterMetricFamily(
            "platemill_node_seconds", "Time that nodes were there, added up.", labels=["kind"]
        )
        for kind in ("cpu", "gpu"):
            nodes = [node for node in self._nodes.values() if node.kind == kind]
            up.add_metric([kind], len(nodes))
            here = sum(node.seconds(now) for node in nodes)
            spent.add_metric([kind], self._gone_seconds[kind] + here)
        yield up
        yield spent
        yield _counter("servers_started", "Triton starts.", self._sums["servers_started"])
        yield _counter("servers_lost", "Tritons that died or hung.", self._sums["server_lost"])
        yield _counter("workers_lost", "Workers that died.", self._sums["worker_lost"])
        yield _gauge(
            "server_start_seconds",
            "Time from asking for a Triton to its readiness, the last one.",
            self._server_seconds,
        )


def write_metrics(folder: Path, run_id: str, home: Path, succeeded: bool) -> None:
    """Write a run's last metrics into its folder, and as those of the last run.

    They are for the textfile collector of Prometheus' node exporter: a run is gone before it
    could be scraped again.

    Args:
        folder: the run's folder.
        run_id: the run.
        home: the home's folder of metrics; made if it is missing.
        succeeded: whether the run ended well.

    Raises:
        OSError: a file cannot be written.
    """
    metrics = RunMetrics(folder, run_id)
    metrics.end(succeeded)
    text = metrics.text()
    home.mkdir(parents=True, exist_ok=True)
    for path in (folder / METRICS, home / LAST_RUN):
        # The collector reads *.prom only, so never this one.
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(path)


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"platemill_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"platemill_{name}", text, value=value)


def _seconds(time: str) -> float:
    return dt.datetime.fromisoformat(time).timestamp()
