"""The error budget: how many images of a day a run may lose before it stops, unpublished.

Counted over the shards of the run's plan, whoever recorded them: a run that goes on where another
one stopped counts what that one quarantined, too.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.errors import CheckFailed
from platemill.lake import Lake, ShardRecord
from platemill.schema import ImageStatus
from platemill.settings import Settings

__all__ = ["MAY_BE_WELL", "Overspent", "check_budget", "overspent", "to_try_again"]

MAY_BE_WELL: Final = frozenset({"vanished", "unreadable", "changed", "inference_failed", "poison"})
"""Reasons that are not in the image's bytes alone: the same file may be well at another try."""

LISTING: Final = "quarantined.csv"
_COLUMNS: Final = ["uri", "day", "camera_id", "stage", "reason", "attempts", "detail"]


@dataclass(frozen=True, slots=True)
class Overspent:
    """A day that lost more images than it may.

    Args:
        day: the UTC day.
        images: the run's images of the day.
        quarantined: how many of them are quarantined.
        allowed: how many may be.
        records: the day's shards.
    """

    day: date
    images: int
    quarantined: int
    allowed: int
    records: tuple[ShardRecord, ...]


def overspent(settings: Settings, records: Iterable[ShardRecord]) -> list[Overspent]:
    """The days over the budget, in order. A day may lose the share or the floor, the larger."""
    by_day: dict[date, list[ShardRecord]] = defaultdict(list)
    for record in records:
        by_day[record.day].append(record)
    found = []
    for day, shards in sorted(by_day.items()):
        images = sum(record.images for record in shards)
        lost = sum(record.counts.get(ImageStatus.QUARANTINED, 0) for record in shards)
        # 0.29 times 100 is a little less than 29.
        share = math.floor(settings.error_budget * images + 1e-6)
        allowed = max(share, settings.error_budget_images)
        if lost > allowed:
            found.append(Overspent(day, images, lost, allowed, tuple(shards)))
    return found


def check_budget(
    settings: Settings, lake: Lake, records: Sequence[ShardRecord], folder: Path
) -> None:
    """Stop a night that lost too much. Writes ``FOLDER/quarantined.csv`` if it does.

    Raises:
        CheckFailed: a day is over the budget; the text says which, why, and what to do.
    """
    days = overspent(settings, records)
    if not days:
        return
    lines = [f"  {'day':<10}  {'quarantined':>11}  {'allowed':>7}  most of them, and one of these"]
    listed: list[dict[str, Any]] = []
    for spent in days:
        rows = _quarantined(lake, spent.records)
        listed += rows
        (reason, count), *_ = Counter(row["reason"] for row in rows).most_common(1)
        example = next(row["uri"] for row in rows if row["reason"] == reason)
        lines.append(
            f"  {spent.day}  {f'{spent.quarantined} of {spent.images}':>11}  {spent.allowed:>7}  "
            f"{reason} ({count}): {example}"
        )
    listing = folder / LISTING
    _write(listing, listed)
    # Rounded up, so that what is said is enough.
    share = max(math.ceil(1000 * spent.quarantined / spent.images) / 1000 for spent in days)
    over = "a day is over its" if len(days) == 1 else f"{len(days)} days are over their"
    raise CheckFailed(
        f"{over} error budget, so the night stopped before publishing and readers still see the "
        "night before.\n"
        + "\n".join(lines)
        + f"\nAll of them are in {listing}. Either mend what is broken and run again: only shards "
        "with an image that changed, or that may be well now, are recognised again. Or take it as "
        f"it is: run again with --error-budget {share:g}, and nothing is recognised again."
    )


def to_try_again(
    settings: Settings, lake: Lake, earlier: Sequence[ShardRecord], *, retry: bool
) -> list[tuple[ShardRecord, dict[str, int]]]:
    """Shards that runs before recorded, and that this run shall recognise again all the same.

    - Shards that are merged: their images are planned because they are to be tried again.
    - For a retry, all of them, for the same reason.
    - Shards of days over the budget, if an image of theirs may be well at another try: a run that
      was stopped by its budget left them, and this one would be stopped by them again. A run whose
      budget allows them takes them as they are.

    Args:
        settings: the error budget.
        lake: where the rows are staged.
        earlier: records of the run's shards that other runs made.
        retry: whether the run is over quarantined images alone.

    Returns:
        Each with the images that it quarantined and nobody published, URI → times tried.
    """
    current = lake.current()
    merged = frozenset[str]() if current is None else frozenset(current.shards)
    found: list[tuple[ShardRecord, dict[str, int]]] = [
        (record, {}) for record in earlier if record.key in merged
    ]
    left = [record for record in earlier if record.key not in merged]
    wanted = left if retry else [r for spent in overspent(settings, left) for r in spent.records]
    for record in wanted:
        rows = _quarantined(lake, [record])
        if retry or any(row["reason"] in MAY_BE_WELL for row in rows):
            found.append((record, {row["uri"]: row["attempts"] for row in rows}))
    return found


def _quarantined(lake: Lake, records: Iterable[ShardRecord]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for record in records:
        if record.counts.get(ImageStatus.QUARANTINED, 0):
            path = lake.storage.locate(record.images_path)
            table = pq.read_table(path, columns=[*_COLUMNS, "status"])
            rows += table.filter(
                pc.equal(table["status"], ImageStatus.QUARANTINED.value)
            ).to_pylist()
    return rows


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
