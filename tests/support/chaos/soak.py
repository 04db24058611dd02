"""The soak: 20,000 small images in one night, with what it holds sampled all the while.

``python -m chaos.soak --out build/chaos`` runs a real Ray job with a real Triton over a fake model
and writes ``soak.json``, ``soak.png`` and the curves of shared memory, resident memory and open
files to stdout. It fails unless the last third is as high as the first one, or lower.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from fake_models import PLATES, write_fake_models

from chaos.nights import NightServer
from platemill.launch.clusters.private import PrivateCluster
from platemill.serving.regions import SHM

__all__ = ["CURVES", "flat", "main", "sparkline"]

_PROJECT = Path(__file__).parents[3]
_SECONDS = 1.0
_DAYS = 4
_FIRST_DAY = datetime(2026, 5, 4, tzinfo=UTC)
_BARS = "▁▂▃▄▅▆▇█"
CURVES = {
    "shm": "shared memory, MB",
    "resident": "resident memory, MB",
    "files": "open files",
}
"""Curve → what it shows."""
# By how much the end may lie above the first third: noise of a sample, and a buffer more or less.
_ALLOWED = {"shm": (1.05, 4.0), "resident": (1.15, 40.0), "files": (1.05, 8.0)}


def write_archive(folder: Path, images: int) -> None:
    """Write small photos, all different, over some days."""
    rng = np.random.default_rng(5)
    for number in range(images):
        at = _FIRST_DAY + timedelta(days=number % _DAYS, seconds=4 * (number // _DAYS))
        path = folder / f"camera-{number % 3}" / f"{at:%Y/%m/%d/%H%M%S}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image[0, 0, :2] = number % 3, number % PLATES
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def shared_regions(pid: int) -> dict[str, int]:
    """The project's regions that a process has mapped, with a name or not: inode → bytes."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if f" {SHM}/platemill-" in line:
            place, _, _, _, inode, _ = line.split(None, 5)
            first, end = (int(address, 16) for address in place.split("-"))
            found[inode] = max(found.get(inode, 0), end - first)
    return found


def sample(night: int, keeper: int, home: Path) -> dict[str, float]:
    """What the night, the cluster and all that came of them hold now."""
    processes = []
    for pid in (night, keeper):
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            processes += [root, *root.children(recursive=True)]
    resident = files = 0.0
    regions: dict[str, int] = {}
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            # What is mapped from /dev/shm by many is counted once, by "shm".
            memory = process.memory_info()
            resident += memory.rss - memory.shared
            files += process.num_fds()
            regions |= shared_regions(process.pid)
    shm = sum(regions.values())
    done = 0
    for progress in home.glob("runs/*/progress.json"):
        with contextlib.suppress(OSError, ValueError):
            done = json.loads(progress.read_text())["images_done"]
    return {"shm": shm / 1e6, "resident": resident / 1e6, "files": files, "images": done}


def working(samples: Sequence[dict[str, float]], images: int) -> list[dict[str, float]]:
    """The samples between the first recognised image and the last: everything has started."""
    return [one for one in samples if 0 < one["images"] < images]


def flat(curve: str, values: Sequence[float]) -> str | None:
    """What is wrong if the last third of a curve lies above its first; None if nothing is."""
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    share, more = _ALLOWED[curve]
    if last <= max(first * share, first + more):
        return None
    return f"{CURVES[curve]} rose from {first:.1f} to {last:.1f}"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text, from nothing to its highest value."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    groups = [max(values[i : i + size]) for i in range(0, len(values), size)]
    top = max(groups) or 1.0
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in groups)


def draw(samples: Sequence[dict[str, float]], target: Path) -> None:
    """Draw the curves under each other, each from 0 to its highest value."""
    width, height, gap, left = 900, 120, 46, 20
    board = np.full((len(CURVES) * (height + gap) + 30, width + 2 * left, 3), 255, np.uint8)
    for row, (curve, title) in enumerate(CURVES.items()):
        values = [one[curve] for one in samples]
        top = max(values) or 1.0
        base = (row + 1) * (height + gap) - 6
        x = np.linspace(left, left + width, len(values))
        y = base - np.array(values) / top * height
        points = np.column_stack([x, y]).round().astype(np.int32)
        cv2.line(board, (left, base), (left + width, base), (200, 200, 200), 1)
        cv2.polylines(board, [points], False, (140, 70, 20), 2, cv2.LINE_AA)
        text = f"{title}: median {statistics.median(values):.0f}, highest {top:.0f}"
        place = (left, base - height - 12)
        cv2.putText(board, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    seconds = samples[-1]["seconds"] - samples[0]["seconds"]
    text = f"{samples[-1]['images']:.0f} images in {seconds:.0f} s"
    place = (left, board.shape[0] - 10)
    cv2.putText(board, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    cv2.imwrite(str(target), board)


def main() -> int:
    """Run the soak; the exit code says whether the night ended well and the curves are flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--images", type=int, default=20_000)
    given = parser.parse_args()
    root = (given.out / "soak").absolute()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_archive(root / "archive", given.images)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    samples: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(PrivateCluster(root / "ray", 120, 6, cwd=_PROJECT))
        nights = NightServer(cluster.environment, root / "nights.log")
        stack.enter_context(nights)
        settings = {
            "home": str(root / "home"),
            "project": str(_PROJECT),
            "triton_models": str(write_fake_models(root / "models")),
            "ray_address": cluster.jobs_address,
        }
        started = time.monotonic()
        pid = nights.start(
            command="night",
            settings=settings,
            archive=str(root / "archive"),
            environment=cluster.environment,
        )
        code = None
        assert cluster.keeper_pid is not None
        while (code := nights.wait(pid, _SECONDS)) is None:
            now = sample(pid, cluster.keeper_pid, root / "home")
            samples.append({"seconds": round(time.monotonic() - started, 1), **now})
    during = working(samples, given.images)
    result: dict[str, Any] = {"images": given.images, "code": code, "samples": during}
    problems = [] if code == 0 else [f"the night ended with {code}"]
    if len(during) < 3:
        problems.append(f"only {len(during)} samples")
    else:
        found = (flat(curve, [one[curve] for one in during]) for curve in CURVES)
        problems += [problem for problem in found if problem]
        draw(during, given.out / "soak.png")
        for curve, title in CURVES.items():
            values = [one[curve] for one in during]
            third = max(1, len(values) // 3)
            first, last = statistics.median(values[:third]), statistics.median(values[-third:])
            result[curve] = {"first_third": first, "last_third": last, "highest": max(values)}
            print(f"{title:22} {first:8.1f} → {last:8.1f}  {sparkline(values)}")
    result["problems"] = problems
    (given.out / "soak.json").write_text(json.dumps(result, indent=1))
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
