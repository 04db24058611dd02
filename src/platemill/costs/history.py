"""The rows of ``run_costs`` as they are now: the published ones, and those of journals here.

A run's rows say up to which line of its journal they go. So whoever publishes sees which journals
have gone on since: those of runs that failed, or of nights that had nothing new, or of the night
before, whose own publication it could not count itself.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from platemill.costs.actual import cost_rows
from platemill.costs.estimate import RUNS
from platemill.costs.events import RECOGNISE
from platemill.costs.prices import Prices
from platemill.journal import JOURNAL, read_journal
from platemill.lake import FileEntry, Generation, Lake
from platemill.schema import RUN_COSTS
from platemill.settings import Settings

__all__ = ["last_rows", "rows_of_run", "uncounted"]

_TAIL: Final = 65_536


def rows_of_run(
    settings: Settings, folder: Path, *, published: bool = False
) -> list[dict[str, Any]]:
    """The rows of a run, by its folder; none if it has no journal.

    Args:
        settings: the price table, for a run that never recognised.
        folder: the run's.
        published: it is about to publish.
    """
    version = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        version = str(json.loads((folder / "plan.json").read_text())["pipeline_version"])
    return cost_rows(
        folder.name,
        read_journal(folder),
        Prices.of(settings),
        pipeline_version=version,
        published=published,
    )


def uncounted(
    settings: Settings, lake: Lake, generation: Generation | None
) -> Iterator[list[dict[str, Any]]]:
    """The rows of runs of this home whose journals say more than a generation's rows of them.

    Args:
        settings: where the runs are.
        lake: where the rows are.
        generation: whose rows; None: nothing is counted yet.

    Yields:
        All rows of a run.
    """
    files = {} if generation is None else generation.partitions(RUN_COSTS.name)
    counted: dict[dt.date, dict[str, dt.datetime]] = {}
    for path in sorted(settings.runs.glob(f"*/{JOURNAL}")):
        first, last = _ends(path)
        if first is None or last is None:
            continue
        day = first.date()
        if day not in counted:
            counted[day] = _through(lake, files.get(day))
        through = counted[day].get(path.parent.name)
        if through is None or through < last:
            rows = rows_of_run(settings, path.parent)
            if rows:
                yield rows


def last_rows(settings: Settings, lake: Lake) -> list[dict[str, Any]]:
    """Rows of the last runs that recognised anything, each run's whole: enough for an estimate."""
    generation = lake.current()
    files = {} if generation is None else generation.partitions(RUN_COSTS.name)
    # Newer than what is published: the nights since, and the end of the last one.
    fresh = {rows[0]["run_id"]: rows for rows in uncounted(settings, lake, generation)}
    found = {run_id: rows for run_id, rows in fresh.items() if _has_recognised(rows)}
    for day in sorted(files, reverse=True):
        if len(found.keys() - fresh.keys()) >= RUNS:
            break
        by_run: dict[str, list[dict[str, Any]]] = {}
        path = lake.storage.locate(files[day].path)
        for row in pq.read_table(path, partitioning=None).to_pylist():
            by_run.setdefault(row["run_id"], []).append(row)
        for run_id, rows in by_run.items():
            if run_id not in fresh and _has_recognised(rows):
                found[run_id] = rows
    return [row for rows in found.values() for row in rows]


def _has_recognised(rows: Iterable[Mapping[str, Any]]) -> bool:
    return any(row["stage"] == RECOGNISE and row["images"] for row in rows)


def _through(lake: Lake, entry: FileEntry | None) -> dict[str, dt.datetime]:
    """Run → up to when its journal is counted, of the runs of one day."""
    if entry is None:
        return {}
    path = lake.storage.locate(entry.path)
    table = pq.read_table(path, columns=["run_id", "through"], partitioning=None)
    return dict(zip(table["run_id"].to_pylist(), table["through"].to_pylist(), strict=True))


def _ends(journal: Path) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The times of a journal's first and last line, without reading it all."""
    try:
        with journal.open("rb") as file:
            first = [file.readline()]
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return None, None
    return _at(first), _at(reversed(lines))


def _at(lines: Iterable[bytes]) -> dt.datetime | None:
    """The time of the first line that is an event."""
    for line in lines:
        try:
            said = json.loads(line)
            at = dt.datetime.fromisoformat(said["at"])
        except (ValueError, KeyError, TypeError):
            continue
        if "event" in said:
            return at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return None
