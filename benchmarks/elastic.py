"""From no node to N and back: what Ray's autoscaler and the job make of a night, and what it costs.

    PYTHONPATH=tests/support .venv/bin/python benchmarks/elastic.py --nodes 3 --images 900

A cluster with a head and no other node; the autoscaler (version 2, with Ray's fake provider) adds
nodes of one slot, which stands where a GPU would, as long as shards wait for one. Each node starts
a real Triton whose ``plate_bulk`` sleeps instead of recognising, ``--limit`` images a second, so
that this machine's cores do not decide. A node is paid from the start of its first process to the
end of its last. ``--trouble`` does it again three times: a node is killed in the middle, with all
that runs on it; one gets notice as a pod does (SIGTERM, 30 s); one gets notice of 10 s by ``ray
drain-node``. The rows must be the same every time.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from elastic_cluster import SLOT, ElasticCluster
from farm import IMAGES_A_REQUEST, INSTANCES, write_models
from machine import machine
from photos import lay_out, rendered
from planned import RUN, forget, plan_archive
from rich.console import Console
from rich.table import Table

from platemill.journal import read_journal
from platemill.lake import open_lake
from platemill.launch.recognition import recognition_job
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

TROUBLES = ("none", "kill", "notice", "short notice")
"""What happens to a node in the middle of a run."""

SHORT_SECONDS = 10
"""A notice that is too short for a shard."""

_LOOK_SECONDS = 0.2
_BACK_SECONDS = 120.0
_BAR = 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=3, help="there may be no more")
    parser.add_argument("--images", type=int, default=900)
    parser.add_argument("--shard-images", type=int, default=32)
    parser.add_argument("--limit", type=float, default=8.0, help="images/s of one node")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds until an idle node goes")
    parser.add_argument(
        "--trouble", action="store_true", help="also lose a node, and one by notice"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    work = (given.out / "elastic").absolute()
    work.mkdir(parents=True, exist_ok=True)
    lay_out(rendered("720p", 16), given.images, work / "photos")
    models = write_models(work / "models", INSTANCES / given.limit)
    settings = load_settings(
        home=work / "home",
        triton_models=models,
        workers=given.nodes,
        worker_resources={SLOT: 1},
        shard_images=given.shard_images,
        bulk_images=IMAGES_A_REQUEST,
    )
    runs = {}
    project = settings.project
    with ElasticCluster(work / "cluster", given.nodes, given.idle, project) as cluster:
        for trouble in TROUBLES if given.trouble else TROUBLES[:1]:
            runs[trouble] = run(settings, work / "photos", cluster, trouble)
            rows = rows_of(settings)
            runs[trouble]["rows"] = hashlib.blake2b("\n".join(rows).encode()).hexdigest()[:16]
            forget(settings)
    ideal = given.images / given.limit
    record = {
        "machine": machine(settings.triton_interpreter),
        "asked": {k: v for k, v in vars(given).items() if k != "out"},
        "ideal_node_seconds": ideal,
        "runs": runs,
    }
    path = given.out / f"elastic-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps(record, indent=1))
    for trouble, seen in runs.items():
        show(trouble, seen, ideal, given.nodes)
    print(path)
    if len({seen["rows"] for seen in runs.values()}) != 1:
        raise SystemExit("the rows of the runs differ")


class Watch:
    """Which nodes there are, looked at all the time: node → first and last second seen."""

    def __init__(self, cluster: ElasticCluster) -> None:
        self._cluster = cluster
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            now = time.time()
            for node in self._cluster.pods():
                began, _ = self.seen.get(node, (now, now))
                self.seen[node] = (began, now)


def run(settings: Settings, archive: Path, cluster: ElasticCluster, trouble: str) -> dict[str, Any]:
    """One night; returns its events in seconds since the job was handed over."""
    plan_archive(settings, archive)
    done: dict[str, float] = {}

    def disturb(progress: JobProgress) -> None:
        if trouble == "none" or done or 2 * progress.shards_done < progress.shards_total:
            return
        node = cluster.pods()[0]
        done[trouble] = time.time()
        if trouble == "kill":
            cluster.kill(node)
        elif trouble == "notice":
            cluster.preempt(node)
        else:
            cluster.drain(node, SHORT_SECONDS)

    began = time.time()
    with Watch(cluster) as watch:
        job = replace(recognition_job(settings, RUN), name=f"elastic-{trouble}-{began:.0f}")
        cluster.run(job, disturb)
        ended = time.time()
        while cluster.pods() and time.time() < ended + _BACK_SECONDS:
            time.sleep(_LOOK_SECONDS)
        back = time.time()
    journal = [{**event, "t": _since(event["at"], began)} for event in read_journal(job.folder)]
    shards = [event for event in journal if event["event"] == "shard"]
    ready = {e["node"]: e["t"] for e in reversed(journal) if e["event"] == "server_ready"}
    nodes = []
    for node, (first, last) in sorted(watch.seen.items(), key=lambda entry: entry[1]):
        mine = [shard for shard in shards if shard["node"] == node[:12]]
        nodes.append(
            {
                "node": node[:12],
                "from": first - began,
                "to": last - began,
                "seconds": last - first,
                "ready": ready.get(node[:12]),
                "first_shard": min((_since(s["began"], began) for s in mine), default=None),
                "last_shard": max((_since(s["ended"], began) for s in mine), default=None),
                "images": sum(shard["images"] for shard in mine),
            }
        )
    return {
        "trouble": {name: at - began for name, at in done.items()},
        "job": ended - began,
        "back": back - began,
        "nodes": nodes,
        "shards": len(shards),
        "attempts": sum(shard["attempt"] for shard in shards),
        "images": sum(shard["images"] for shard in shards),
        "journal": journal,
    }


def rows_of(settings: Settings) -> list[str]:
    """All rows that the run's shards recorded, sorted, without what says when and by whom."""
    lake = open_lake(settings)
    rows: list[str] = []
    for shard in Plan.load(settings.runs / RUN).shards:
        record = lake.shard(shard.key)
        if record is None:
            raise SystemExit(f"shard {shard.key} has no record")
        for path in (record.images_path, record.recognitions_path):
            table = pq.read_table(lake.storage.locate(path))
            kept = [name for name in table.column_names if name not in ("processed_at", "run_id")]
            rows += map(str, table.select(kept).to_pylist())
    return sorted(rows)


def _since(text: str, began: float) -> float:
    return dt.datetime.fromisoformat(text).timestamp() - began


def show(trouble: str, seen: dict[str, Any], ideal: float, most: int) -> None:
    console = Console(width=100)
    table = Table("node", "from", "ready", "first shard", "last shard", "to", "seconds", "images")
    for node in seen["nodes"]:
        times = [node[name] for name in ("from", "ready", "first_shard", "last_shard", "to")]
        table.add_row(
            node["node"].lstrip("0"),
            *("–" if at is None else f"{at:.1f}" for at in times),
            f"{node['seconds']:.1f}",
            str(node["images"]),
        )
    console.print(f"\n[bold]trouble: {trouble}[/bold] {_spoken(seen['trouble'])}")
    console.print(table)
    step = seen["back"] / _BAR
    for count in range(most, 0, -1):
        there = [
            sum(n["from"] <= step * (i + 0.5) <= n["to"] for n in seen["nodes"])
            for i in range(_BAR)
        ]
        console.print(f"{count:2d} " + "".join("█" if n >= count else " " for n in there))
    console.print("   0 s" + f"{seen['back']:.0f} s".rjust(_BAR - 3))
    nodes = seen["nodes"]
    paid = sum(node["seconds"] for node in nodes)
    firsts = sorted(node["first_shard"] for node in nodes if node["first_shard"])
    held = most * seen["job"]
    lines = {
        "first node asked for": min(node["from"] for node in nodes),
        "first node works": firsts[0],
        f"node {min(most, len(firsts))} works": firsts[min(most, len(firsts)) - 1],
        "last shard recorded": max(n["last_shard"] or 0.0 for n in nodes),
        "the job has ended": seen["job"],
        "no node is left": seen["back"],
        "node-seconds paid": paid,
        "  until a node's server was ready": sum(
            (n["ready"] or n["to"]) - n["from"] for n in nodes
        ),
        "  after its last shard": sum(n["to"] - (n["last_shard"] or n["to"]) for n in nodes),
        "node-seconds, all nodes from start to end of the job": held,
        "node-seconds of recognition alone": ideal,
    }
    for what, seconds in lines.items():
        console.print(f"{what:55s}{seconds:8.1f}")
    console.print(
        f"{seen['shards']} shards in {seen['attempts']} attempts, {seen['images']} images, "
        f"rows {seen['rows']}"
    )


def _spoken(done: dict[str, float]) -> str:
    return ", ".join(f"after {at:.1f} s" for at in done.values())


if __name__ == "__main__":
    main()
