"""Accuracy of a night, from the rows that it recorded, against labels.

    platemill run --home H --archive PHOTOS
    python benchmarks/accuracy.py --home H --photos PHOTOS

``PHOTOS/labels.csv`` has ``file,plate,xmin,ymin,xmax,ymax,country,note``, a row a plate, pixels of
the file. A plate counts as read when the recognition whose box overlaps it most (IoU of at least
0.5) has exactly its text. A row with a blank plate is not asked for its text, and a box on a row
whose note starts with ``ignore`` is not a false positive.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from platemill.settings import load_settings
from platemill.warehouse.query import run_sql

IOU = 0.5


class Box(NamedTuple):
    """A box in pixels."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a.xmax, b.xmax) - max(a.xmin, b.xmin)
    height = min(a.ymax, b.ymax) - max(a.ymin, b.ymin)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area = sum((box.xmax - box.xmin) * (box.ymax - box.ymin) for box in (a, b))
    return both / (area - both)


def box_of(row: dict[str, Any]) -> Box:
    """The box of a label or of a recognition."""
    return Box(*(float(row[name] or 0) for name in Box._fields))


def main() -> int:
    """Print the figures as JSON and, with --errors, every plate that was not read exactly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--errors", action="store_true", help="list what was not read exactly")
    arguments = parser.parse_args()

    with (arguments.photos / "labels.csv").open(newline="") as file:
        labels = list(csv.DictReader(file))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = run_sql(load_settings(home=arguments.home), "SELECT * FROM recognitions").to_pylist()
    prefix = arguments.photos.resolve().as_uri() + "/"
    for row in rows:
        if row["uri"].startswith(prefix):
            found[row["uri"].removeprefix(prefix)].append(row)

    matched: set[tuple[str, int]] = set()
    texts = exact = wrong = detected = plates = 0
    for label in labels:
        candidates = found[label["file"]]
        best = max(candidates, key=lambda r: iou(box_of(r), box_of(label)), default=None)
        hit = best is not None and iou(box_of(best), box_of(label)) >= IOU
        if best is not None and hit:
            matched.add((label["file"], best["plate_index"]))
        if label["note"].startswith("ignore"):
            continue
        plates += 1
        detected += hit
        if label["plate"]:
            read = best["plate"] if best is not None and hit else ""
            texts += 1
            exact += read == label["plate"]
            wrong += read not in ("", label["plate"])
            if arguments.errors and read != label["plate"]:
                print(f"{label['file']}: {label['plate']} read as {read!r}", file=sys.stderr)
    false = sum(
        (file, row["plate_index"]) not in matched for file, seen in found.items() for row in seen
    )
    print(
        json.dumps(
            {
                "texts": texts,
                "exact": exact,
                "exact_rate": round(exact / texts, 4) if texts else None,
                "wrong_texts": wrong,
                "plates": plates,
                "recall_iou_0.5": round(detected / plates, 4) if plates else None,
                "false_positives": false,
                "photos": len({label["file"] for label in labels}),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
