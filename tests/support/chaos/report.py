"""Put the figures of ``make chaos`` into ``docs/reliability.md``, between its marks.

``python -m chaos.report --out build/chaos --docs docs``
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.cells import VICTIMS
from chaos.matrix import RESULTS, latest
from chaos.soak import CURVES, sparkline
from platemill.failpoints import POINTS

__all__ = ["fill", "main", "matrix_table", "soak_table", "whole_table"]

_TITLES = {"flow": "flow", "server": "Triton", "stub": "stub", "raylet": "raylet"}
_KINDS = [*((victim, "kill") for victim in VICTIMS), ("", "error"), ("", "zombie")]
_NIGHT = ("base", "recognised")


def matrix_table(lines: Iterable[Mapping[str, Any]]) -> str:
    """The matrix: a row a point, a column a victim, ``passed/runs`` in each."""
    lines = list(lines)
    passed = sum(not line["problems"] for line in lines)
    worlds = len({line["seed"] for line in lines})
    reads = sum(line["reads"] for line in lines)
    seconds = sum(line["seconds"] for line in lines)
    titles = [_TITLES.get(victim, victim) or how for victim, how in _KINDS]
    rows = [
        f"{len(lines)} runs over {worlds} worlds: {passed} passed, {len(lines) - passed} failed. A "
        f"run took {seconds / max(1, len(lines)):.1f} s; meanwhile the readers counted all rows "
        f"{reads:,} times.",
        "",
        "| point | " + " | ".join(titles) + " |",
        "|---|" + "---:|" * len(titles),
    ]
    for part, starts in (("", _NIGHT), ("rollback", ["rollback"]), ("vacuum", ["vacuum"])):
        for point in POINTS:
            here = [one for one in lines if one["point"] == point and one["start"] in starts]
            if here:
                name = f"{part}: `{point}`" if part else f"`{point}`"
                cells = [_cell(here, victim, how) for victim, how in _KINDS]
                rows.append(f"| {name} | " + " | ".join(cells) + " |")
    failed = [line for line in lines if line["problems"]]
    if failed:
        rows += ["", "Failed:", ""]
        rows += [f"- `{line['name']}`: {line['problems'][0][:200]}" for line in failed]
    return "\n".join(rows)


def _cell(lines: Sequence[Mapping[str, Any]], victim: str, how: str) -> str:
    here = [one for one in lines if one["how"] == how and victim in ("", one["victim"])]
    if not here:
        return "–"
    return f"{sum(not one['problems'] for one in here)}/{len(here)}"


def whole_table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Whole nights: a row a cell."""
    rows = ["| point | who | seconds | |", "|---|---|---:|---|"]
    for line in lines:
        point = f"`{line['point']}`" if line["point"] else "two runs started together"
        who = "nobody" if line["victim"] == "two" else line["victim"]
        word = "failed" if line["problems"] else "passed"
        rows.append(f"| {point} | {who} | {line['seconds']} | {word} |")
    return "\n".join(rows)


def soak_table(soak: Mapping[str, Any]) -> str:
    """The soak's curves in figures and in a line of text each."""
    samples = soak["samples"]
    seconds = samples[-1]["seconds"] - samples[0]["seconds"]
    rows = [
        f"{soak['images']:,} images in {seconds:.0f} s, {len(samples)} samples: "
        + ("flat." if not soak["problems"] else "; ".join(soak["problems"]) + "."),
        "",
        "| what | first third, median | last third, median | highest |",
        "|---|---:|---:|---:|",
    ]
    for curve, title in CURVES.items():
        said = soak[curve]
        rows.append(
            f"| {title} | {said['first_third']:.1f} | {said['last_third']:.1f} "
            f"| {said['highest']:.1f} |"
        )
    width = max(map(len, CURVES.values()))
    curves = [
        f"{title:{width}}  {sparkline([one[curve] for one in samples])}"
        for curve, title in CURVES.items()
    ]
    return "\n".join([*rows, "", "```text", *curves, "```"])


def fill(page: str, name: str, text: str) -> str:
    """Replace what is between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no place for {name}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main() -> int:
    """Write what there are results of; the rest stays. The exit code says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--docs", type=Path, required=True, help="folder of the page")
    given = parser.parse_args()
    target = given.docs / "reliability.md"
    page = target.read_text()
    failed: list[object] = []
    if lines := latest(given.out / RESULTS):
        page = fill(page, "matrix", matrix_table(lines.values()))
        failed += [line["problems"] for line in lines.values()]
    if whole := latest(given.out / "whole.jsonl"):
        page = fill(page, "whole nights", whole_table(whole.values()))
        failed += [line["problems"] for line in whole.values()]
    if (given.out / "soak.json").exists():
        soak = json.loads((given.out / "soak.json").read_text())
        if all(curve in soak for curve in CURVES):
            page = fill(page, "soak", soak_table(soak))
            shutil.copyfile(given.out / "soak.png", given.docs / "images" / "soak.png")
        failed.append(soak["problems"])
    target.write_text(page)
    return int(any(failed))


if __name__ == "__main__":
    sys.exit(main())
