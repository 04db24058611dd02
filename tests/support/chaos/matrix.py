"""Run the crash matrix: ``python -m chaos.matrix --out build/chaos``; run again, it goes on.

A line of JSON a cell is appended to ``OUT/cells.jsonl``; cells that passed are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from chaos.cells import cells_for
from chaos.lane import Lane, Outcome

__all__ = ["HITS", "IN_JOB", "RESULTS", "SEEDS", "latest", "main"]

RESULTS = "cells.jsonl"
SEEDS = 4
HITS = 1
IN_JOB = 1
LANES = 2


def latest(results: Path) -> dict[str, dict[str, object]]:
    """The last outcome of every cell, by its name."""
    if not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return {line["name"]: line for line in lines}


def _line(outcome: Outcome) -> str:
    return json.dumps(
        {
            "name": outcome.cell.name,
            **outcome.cell.to_json(),
            "problems": list(outcome.problems),
            "seconds": outcome.seconds,
            "codes": list(outcome.codes),
            "reads": outcome.reads,
        }
    )


def run_lane(given: argparse.Namespace) -> int:
    """Run the cells of a lane's worlds; how many failed."""
    results = given.out / RESULTS
    done = {name for name, line in latest(results).items() if not line["problems"]}
    ran = failed = 0
    with Lane((given.out / f"lane-{given.lane}").absolute()) as lane, results.open("a") as file:
        for seed in range(1 + given.lane, given.seeds + 1, given.lanes):
            world = lane.prepare(seed)
            cells = cells_for(seed, world.hits, hits_each=given.hits, in_job=given.in_job)
            waiting = [
                cell
                for cell in cells
                if given.only in cell.name and (given.again or cell.name not in done)
            ]
            print(f"world {seed}: {len(cells)} cells, {len(waiting)} to run", flush=True)
            for cell in waiting:
                if given.limit is not None and ran >= given.limit:
                    return failed
                outcome = lane.run(cell, world)
                file.write(_line(outcome) + "\n")
                file.flush()
                ran += 1
                failed += bool(outcome.problems)
                word = "FAILED" if outcome.problems else "passed"
                print(f"{word} {outcome.seconds:6.1f} s  {cell.name}", flush=True)
                for problem in outcome.problems:
                    print(f"       {problem[:400]}", flush=True)
    return failed


def main() -> int:
    """Run what is left, in lanes beside each other; the exit code says whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="worlds")
    parser.add_argument("--hits", type=int, default=HITS, help="passes tried of each point")
    parser.add_argument("--in-job", type=int, default=IN_JOB, help="passes tried inside the job")
    parser.add_argument("--only", default="", help="only cells whose name contains this")
    parser.add_argument("--limit", type=int, help="end after so many cells, in each lane")
    parser.add_argument("--again", action="store_true", help="run what has passed, too")
    parser.add_argument("--lanes", type=int, default=LANES, help="clusters beside each other")
    parser.add_argument("--lane", type=int, help="run this lane only, in this process")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.lane is not None:
        return int(run_lane(given) > 0)
    started = time.monotonic()
    command = [sys.executable, "-m", "chaos.matrix", *sys.argv[1:]]
    lanes = [
        subprocess.Popen([*command, "--lane", str(number)])
        for number in range(min(given.lanes, given.seeds))
    ]
    codes = [lane.wait() for lane in lanes]
    minutes = (time.monotonic() - started) / 60
    lines = latest(given.out / RESULTS).values()
    failed = sum(bool(line["problems"]) for line in lines)
    print(f"{len(lines)} cells are done, {failed} of them failed; {minutes:.1f} minutes")
    return int(any(codes) or failed > 0)


if __name__ == "__main__":
    sys.exit(main())
