"""A night as a picture: its stages, its shards, and what the cores were busy with.

    .venv/bin/python benchmarks/timeline.py --images 1200 --picture docs/images/night-timeline.svg
    .venv/bin/python benchmarks/timeline.py --images 100000 --memory

Runs ``platemill run`` over rendered photos in a new home, watches all of its processes, and draws
the journal's stages and shards above the busy cores by what they worked for. ``--memory`` records
the memory of all of them instead; what they share is counted once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from cpu import Watch
from machine import machine
from photos import SIZES, lay_out, rendered

from platemill.journal import read_journal
from platemill.settings import load_settings

GROUPS = {
    "recognition (plate_bulk)": "#2a78c2",
    "workers: read, hash, rows, commit": "#35a07a",
    "Triton and its other models": "#8d6cc4",
    "Ray": "#e0a030",
    "command, flow, Prefect, DuckDB, Feast": "#9aa3ad",
}
WIDTH, LEFT, RIGHT, ROW = 1120, 96, 20, 22
CORES_HIGH = 150
_MEMORY_SECONDS = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--size", choices=[*SIZES], default="720p")
    parser.add_argument("--picture", type=Path, help="an SVG to write; default: beside the record")
    parser.add_argument("--memory", action="store_true", help="record memory, draw nothing")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    work = (given.out / "timeline").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    lay_out(rendered(given.size, 48), given.images, work / "photos")
    memory_seconds = _MEMORY_SECONDS if given.memory else 0.0
    record = {"images": given.images, "size": given.size, **watch(work, memory_seconds)}
    shutil.rmtree(work)
    kind = "memory" if given.memory else "timeline"
    path = given.out / f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(record, indent=1))
    print(path)
    if given.memory:
        return
    picture = given.picture or path.with_suffix(".svg")
    picture.write_text(draw(record))
    print(picture)


def watch(work: Path, memory_seconds: float) -> dict[str, Any]:
    """Run the night; returns its stages, shards, busy cores and memory, in seconds since its start.

    memory_seconds: between two looks at the memory; 0: none.
    """
    settings = load_settings(home=work / "home")
    states = settings.runs.glob

    def roots() -> Iterator[int]:
        yield os.getpid()
        # Servers' supervisors are nobody's children.
        for state in states("*/triton-*/triton.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                yield int(json.loads(state.read_text())["supervisor"])

    command = [sys.executable, "-m", "platemill", "run", "--json", "--home", str(settings.home)]
    command += ["--archive", str(work / "photos")]
    began = time.time()
    with Watch(lambda: list(roots()), 0.25, memory_seconds=memory_seconds) as seen:
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    ended = time.time()
    summary = json.loads(told.stdout)
    journal = read_journal(settings.runs / summary["run_id"])

    def since(line: dict[str, Any], name: str) -> float:
        return datetime.fromisoformat(line[name]).timestamp() - began

    return {
        "machine": machine(settings.triton_interpreter),
        "seconds": ended - began,
        "stages": [
            [line["stage"], since(line, "began"), since(line, "ended")]
            for line in journal
            if line["event"] == "stage"
        ],
        "shards": [
            [line["images"], since(line, "began"), since(line, "ended")]
            for line in journal
            if line["event"] == "shard"
        ],
        "memory_mib": [[at - began, size >> 20] for at, size in seen.memory],
        "servers": [since(line, "at") for line in journal if line["event"] == "server_ready"],
        "cores": [
            [at - began, {group: busy[group] for group in GROUPS}]
            for at, busy in busy_cores(seen)
            if 0 <= at - began <= ended - began
        ],
    }


def group_of(name: str) -> str:
    """Which group a process belongs to, by what ``cpu.Watch`` calls it."""
    bulk, workers, triton, ray, rest = GROUPS
    if name == "stub plate_bulk":
        return bulk
    if name.startswith("ray::Worker"):
        return workers
    if name.startswith(("stub", "tritonserver")):
        return triton
    signs = ("ray::", "raylet", "gcs_server", "dashboard", "src']", "ray.scripts", "ray_jobs")
    return ray if any(sign in name for sign in signs) else rest


def busy_cores(seen: Watch) -> Iterator[tuple[float, dict[str, float]]]:
    """Between two samples each: when, and how many cores each group was busy with."""
    for place in range(1, len(seen.times)):
        span = seen.times[place] - seen.times[place - 1]
        busy = dict.fromkeys(GROUPS, 0.0)
        used = seen.by_process(seen.times[place - 1], seen.times[place])
        for name, seconds in used.items():
            busy[group_of(name)] += seconds / span
        yield seen.times[place], busy


def draw(record: dict[str, Any]) -> str:
    """The picture as SVG, in its own colours on white."""
    seconds = record["seconds"]
    scale = (WIDTH - LEFT - RIGHT) / seconds

    def x(at: float) -> float:
        return LEFT + at * scale

    stages, lanes = record["stages"], lanes_of(record["shards"])
    parts: list[str] = []
    top = 52
    for name, began, ended in stages:
        wide = max(1.5, (ended - began) * scale)
        said = f"{name} {ended - began:.1f} s"
        parts.append(bar(x(began), top, wide, "#4a5568", said))
        inside = wide > 7 * len(said)
        at, anchor = (x(began) + 6, "start") if inside else (x(ended) + 5, "start")
        if not inside and x(ended) + 7 * len(said) > WIDTH:
            at, anchor = x(began) - 5, "end"
        parts.append(text(at, top + 13, said, "#fff" if inside else "#1a202c", anchor))
        top += ROW - 4
    stages_bottom = top
    parts += [text(LEFT - 8, 65, "stages", "#4a5568", "end")]
    top += 14
    shards_top = top
    for lane in lanes:
        for images, began, ended in lane:
            wide = max(1.0, (ended - began) * scale - 1)
            parts.append(bar(x(began), top, wide, "#35a07a", f"{images} photos"))
        top += ROW - 6
    parts.append(text(LEFT - 8, shards_top + 13, "shards", "#4a5568", "end"))
    cores = record["machine"]["cores"]
    base = top + 20 + CORES_HIGH
    parts += list(stack(record["cores"], x, base, cores))
    for number in range(cores + 1):
        y = base - number * CORES_HIGH / cores
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#cbd5e0"/>')
        label = "nothing" if not number else f"{number} core{'s' if number > 1 else ''}"
        parts.append(text(LEFT - 8, y + 4, label, "#4a5568", "end"))
    for ready in record["servers"]:
        parts.append(
            f'<line x1="{x(ready):.1f}" x2="{x(ready):.1f}" y1="{stages_bottom}" y2="{base}" '
            'stroke="#c53030" stroke-dasharray="3 3"/>'
        )
        parts.append(text(x(ready) - 5, stages_bottom + 12, "Triton is ready", "#c53030", "end"))
    step = next(step for step in (1, 2, 5, 10, 20, 60, 300, 1800) if seconds / step <= 14)
    for tick in range(0, int(seconds) + 1, step):
        parts.append(text(x(tick), base + 18, f"{tick} s", "#4a5568", "middle"))
    legend_top = base + 44
    at = LEFT
    for name, colour in GROUPS.items():
        parts.append(bar(at, legend_top - 10, 11, colour, name, 11))
        parts.append(text(at + 16, legend_top, name, "#1a202c"))
        at += 30 + int(6.4 * len(name))
    title = (
        f"A night of {record['images']:,} photos ({record['size']}), {seconds:.0f} s from the "
        f"command's start to its end, on {cores} cores"
    )
    parts.append(text(LEFT, 28, title, "#1a202c", size=16))
    high = legend_top + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" '
        f'height="{high}" role="img" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{WIDTH}" height="{high}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def lanes_of(shards: Sequence[Sequence[float]]) -> list[list[Sequence[float]]]:
    """Shards in as few rows as they need, so that none lies over another."""
    lanes: list[list[Sequence[float]]] = []
    for shard in sorted(shards, key=lambda shard: shard[1]):
        lane = next((lane for lane in lanes if lane[-1][2] <= shard[1]), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(shard)
    return lanes


def stack(
    samples: Sequence[tuple[float, dict[str, float]]], x: Any, base: float, cores: int
) -> Iterator[str]:
    """Busy cores as areas one above the other."""
    below = [0.0] * len(samples)
    for name, colour in GROUPS.items():
        above = [low + busy[name] for low, (_, busy) in zip(below, samples, strict=True)]
        points = [
            f"{x(at):.1f},{base - min(value, cores) * CORES_HIGH / cores:.1f}"
            for values, order in ((above, samples), (below[::-1], samples[::-1]))
            for value, (at, _) in zip(values, order, strict=True)
        ]
        points_of = " ".join(points)
        yield f'<polygon points="{points_of}" fill="{colour}"><title>{name}</title></polygon>'
        below = above


def bar(x: float, y: float, wide: float, colour: str, said: str, high: int = 14) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="{high}" rx="2" '
        f'fill="{colour}"><title>{escape(said)}</title></rect>'
    )


def text(
    x: float, y: float, said: str, colour: str, anchor: str = "start", *, size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" '
        f'text-anchor="{anchor}">{escape(said)}</text>'
    )


if __name__ == "__main__":
    main()
