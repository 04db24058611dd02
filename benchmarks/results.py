"""``RESULTS.md`` out of the newest records of ``stages``, ``night``, ``farm``, ``quiet`` and so on.

    .venv/bin/python benchmarks/results.py build/bench > benchmarks/RESULTS.md

Of the night beside other ways the newest record of each set of photos counts.
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

Made by `make bench` or `make bench-full` (`benchmarks/results.py`); `PHOTOS=FOLDER` adds photos of
one's own. Images a second are medians of rounds in which the ways take turns, with the smallest and
the largest; ratios are medians of the rounds' ratios. What each way gave for every photo was equal,
bit for bit, to what `plate_recognition` gives for it alone, or there would be no figure. The ways
are explained in `benchmarks/night.py`. Every part names its machine and its time; not all are of
one.

Not measured here: a GPU. NVIDIA's published 447 images a second for detection, plate detection and
reading on a T4 are of other hardware and of video.
"""
PICTURE = "../docs/images/night-timeline.svg"


def main() -> None:
    folder = Path(sys.argv[1])
    print(HOW)
    for name, lines in PARTS.items():
        records = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*.json"))]
        for record in newest(name, records):
            print("\n".join([*lines(record), "", *on(record["machine"]), ""]))


def newest(name: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record; of nights the last of each set of photos, by itself; of farms every size."""
    if name == "farm" and records:
        sizes = {(row["servers"], row["limit"]): row for one in records for row in one["farm"]}
        return [{**records[-1], "farm": [sizes[size] for size in sorted(sizes)]}]
    if name != "night":
        return records[-1:]
    found = {
        part: {**record, "sets": {part: seen}}
        for record in records
        for part, seen in record["sets"].items()
    }
    return list(found.values())


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
    for name, seen in record["sets"].items():
        rounds = seen["rounds"]
        of = f"{name}: {record['images']} photos a round, {record['rounds']} rounds"
        yield f"## The night beside other ways, {of}"
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
    yield "Servers that can do more than the cores can feed get what the cores can feed."
    yield ""
    yield row("servers", "their limit, images/s", "images/s", "of the limit", "cores busy")
    yield row("---", "---", "---", "---", "---")
    for seen in record["farm"]:
        rates = [one["images_per_second"] for one in seen["rounds"]]
        busy = statistics.median(one["cores_busy"] for one in seen["rounds"])
        share = statistics.median(rates) / seen["limit"]
        limit = f"{seen['limit']:.0f}"
        yield row(seen["servers"], limit, spread(rates), f"{share:.0%}", f"{busy:.2f}")


def quiet(record: dict[str, Any]) -> Iterator[str]:
    yield "## Before the first photo"
    yield ""
    yield row("what", "seconds")
    yield row("---", "---")
    known = [one["seconds"] for one in record["quiet"]]
    yield row(f"the whole command, nothing new in {record['files']:,} files", spread(known))
    yield row("the same, CPU", spread([one["cpu_seconds"] for one in record["quiet"]]))
    yield row("its peak memory, MiB", spread([one["peak_mib"] for one in record["quiet"]], 0))
    first = [one["first_photo_seconds"] for one in record["cold"]]
    yield row("cold start to the record of the first photo", spread(first))
    whole = [one["seconds"] for one in record["cold"]]
    yield row("cold start to the end of a night of one photo", spread(whole))


def memory(record: dict[str, Any]) -> Iterator[str]:
    (began, ended), *_ = ((b, e) for stage, b, e in record["stages"] if stage == "recognise")
    sizes = [size for at, size in record["memory_mib"] if began <= at <= ended]
    every = [size for _, size in record["memory_mib"]]
    # The first tenth holds the start.
    tenths = [sizes[n * len(sizes) // 10 : (n + 1) * len(sizes) // 10] for n in range(1, 10)]
    medians = [statistics.median(part) for part in tenths]
    yield f"## Memory of all processes while {record['images']:,} photos pass, MiB"
    yield ""
    yield row(*(f"{n}. tenth" for n in range(2, 11)), "most", "most of the whole night")
    yield row(*("---" for _ in range(11)))
    yield row(*(f"{value:.0f}" for value in medians), max(sizes), max(every))
    yield ""
    yield (
        f"Proportional set size, what is shared counted once; the recognition took "
        f"{ended - began:.0f} s of {record['seconds']:.0f} s."
    )


def timeline(record: dict[str, Any]) -> Iterator[str]:
    yield "## A night from its first second to its last"
    yield ""
    yield f"![Stages, shards and busy cores of a night of {record['images']:,} photos]({PICTURE})"


PARTS = {
    "stages": stages,
    "night": night,
    "farm": farm,
    "quiet": quiet,
    "memory": memory,
    "timeline": timeline,
}

if __name__ == "__main__":
    main()
