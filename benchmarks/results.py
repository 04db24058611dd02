"""``RESULTS.md`` out of the newest records of ``stages.py``, ``night.py`` and ``farm.py``.

.venv/bin/python benchmarks/results.py build/bench > benchmarks/RESULTS.md
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from night import RATIOS
from stages import STAGES

HOW = """# Results

Made by `make bench` or `make bench-full` (`benchmarks/results.py`). Images a second are medians of
rounds in which the ways take turns, with the smallest and the largest; ratios are medians of the
rounds' ratios. What each way gave for every photo was equal, bit for bit, to what
`plate_recognition` gives for it alone. The ways are explained in `benchmarks/night.py`.
"""


def main() -> None:
    folder = Path(sys.argv[1])
    print(HOW)
    for name, lines in (("stages", stages), ("night", night), ("farm", farm)):
        records = sorted(folder.glob(f"{name}-*.json"))
        if records:
            record = json.loads(records[-1].read_text())
            print("\n".join([*lines(record), "", *on(record["machine"]), ""]))


def on(machine: dict[str, Any]) -> Iterator[str]:
    versions = {**machine["versions"], **machine.get("triton_versions", {})}
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield (
        f"On {machine['cores']} cores of {machine['processor']} ({', '.join(machine['bf16'])}), "
        f"{machine['memory_gib']} GiB, load {machine['load'][0]} at the start, {machine['at']}; "
        f"Python {machine['python']}, {told}."
    )


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def spread(values: Sequence[float], digits: int = 1) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def stages(record: dict[str, Any]) -> Iterator[str]:
    sets = record["sets"]
    yield "## CPU milliseconds of one image, each stage alone on one core"
    yield ""
    yield row("stage", *sets)
    yield row("---", *("---" for _ in sets))
    for stage in STAGES:
        yield row(stage, *(f"{seen[stage]:.2f}" for seen in sets.values()))
    sums = [sum(seen[stage] for stage in STAGES) for seen in sets.values()]
    cores = record["machine"]["cores"]
    yield row("**sum**", *(f"**{total:.1f}**" for total in sums))
    yield row(f"images/s of {cores} cores at best", *(f"{cores * 1e3 / t:.0f}" for t in sums))


def night(record: dict[str, Any]) -> Iterator[str]:
    yield "## The night beside other ways"
    for name, seen in record["sets"].items():
        rounds = seen["rounds"]
        yield ""
        yield f"### {name}, {record['images']} photos a round, {record['rounds']} rounds"
        yield ""
        yield row("way", "images/s", "CPU ms an image")
        yield row("---", "---", "---")
        for way, all_of in rounds.items():
            rates = [one["images_per_second"] for one in all_of]
            yield row(way, spread(rates), spread([one["cpu_ms"] for one in all_of]))
        yield ""
        yield row("ratio", "of images/s", "goal")
        yield row("---", "---", "---")
        for one, other, what, goal in RATIOS:
            if one in rounds and other in rounds:
                pairs = zip(rounds[one], rounds[other], strict=True)
                ratios = [a["images_per_second"] / b["images_per_second"] for a, b in pairs]
                yield row(what, spread(ratios, 2), goal)
        if seen["loop"]:
            shape = ", ".join(f"{key} {value}" for key, value in seen["loop"].items())
            yield ""
            yield f"The loop by hand: {shape}, the best of {len(seen['trials'])} shapes."


def farm(record: dict[str, Any]) -> Iterator[str]:
    yield "## A farm of servers that only wait"
    yield ""
    yield row("servers", "their limit, images/s", "images/s", "of the limit", "cores busy")
    yield row("---", "---", "---", "---", "---")
    for seen in record["farm"]:
        rates = [one["images_per_second"] for one in seen["rounds"]]
        busy = statistics.median(one["cores_busy"] for one in seen["rounds"])
        share = statistics.median(rates) / seen["limit"]
        limit = f"{seen['limit']:.0f}"
        yield row(seen["servers"], limit, spread(rates), f"{share:.0%}", f"{busy:.2f}")


if __name__ == "__main__":
    main()
