"""What ``platemill status`` reports, read from the run folders, the lake and the warehouse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platemill.lake import Lake, open_lake
from platemill.lake.inventory import newest_inventory
from platemill.launch.heartbeat import read_pulse
from platemill.launch.stages import ERROR, STOPPED
from platemill.recognize.night_plan import waiting_by_day
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.warehouse.query import run_sql

__all__ = ["home_status"]

_NEWEST = 20

_DAYS = """
SELECT day, pipeline_version, count(*) AS images,
       count(*) FILTER (status = 'recognised') AS recognised,
       count(*) FILTER (status = 'no_plate') AS no_plate,
       count(*) FILTER (status = 'quarantined') AS quarantined,
       sum(plates)::BIGINT AS plates
FROM images GROUP BY ALL ORDER BY day, pipeline_version
"""

_QUARANTINED = """
SELECT reason, count(*) AS images, min(uri) AS example, any_value(detail ORDER BY uri) AS detail
FROM images WHERE status = 'quarantined' GROUP BY reason ORDER BY images DESC, reason
"""


def home_status(settings: Settings) -> dict[str, Any]:
    """Collect what happened in a home.

    Returns:
        ``home, generation, runs, generations, days, waiting, quarantined``; the last five are
        lists of rows, newest first where there is an order in time.
    """
    lake = open_lake(settings)
    numbers = lake.numbers()
    return {
        "home": str(settings.home),
        "generation": numbers[-1] if numbers else None,
        "runs": _runs(settings.runs),
        "generations": [_generation(lake, number) for number in reversed(numbers[-_NEWEST:])],
        "days": run_sql(settings, _DAYS).to_pylist(),
        "waiting": _waiting(settings, lake),
        "quarantined": run_sql(settings, _QUARANTINED).to_pylist(),
    }


def _runs(folder: Path) -> list[dict[str, Any]]:
    found = sorted(folder.glob("*/request.json"), reverse=True)[:_NEWEST]
    return [_run(request.parent) for request in found]


def _run(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run_id": folder.name, "state": "unfinished", "error": None}
    if (folder / "summary.json").exists():
        summary = json.loads((folder / "summary.json").read_text())
        row["state"] = "published" if summary["images_new"] else "nothing new"
        if summary.get("images_left") and not summary["images_new"]:
            row["state"] = "budget spent"
        seconds = summary.pop("seconds")
        row |= {name: value for name, value in summary.items() if name != "run_id"}
        row["seconds"] = seconds["total"]
        # Summaries of before costs were counted have none.
        costs = summary.get("costs") or {}
        row |= {name: costs.get(name) for name in ("node_hours", "price", "currency")}
    elif (folder / ERROR).exists():
        error = json.loads((folder / ERROR).read_text())
        row |= {"state": "failed", "error": f"{error['error']}: {error['text']}"}
    elif (folder / STOPPED).exists():
        stopped = json.loads((folder / STOPPED).read_text())
        row |= {"state": "stopped", "error": f"it was stopped at {stopped['at']}. Run again"}
    elif (pulse := read_pulse(folder)) is not None:
        row["state"] = "crashed" if pulse.is_dead() else "running"
        if pulse.is_dead():
            row["error"] = (
                f"its flow, {pulse}, ended without a word after {pulse.at}. Run again: what was "
                "recognised is kept"
            )
    return row


def _generation(lake: Lake, number: int) -> dict[str, Any]:
    generation = lake.generation(number)
    files = [entry for parts in generation.tables.values() for entry in parts.values()]
    return {
        "generation": number,
        "run_id": generation.run_id,
        "created_at": generation.created_at,
        "pipeline_version": generation.pipeline_version,
        "days": len(generation.partitions("images")),
        "images": sum(entry.rows for entry in generation.partitions("images").values()),
        "recognitions": sum(entry.rows for entry in generation.partitions("recognitions").values()),
        "bytes": sum(entry.bytes for entry in files),
    }


def _waiting(settings: Settings, lake: Lake) -> list[dict[str, Any]]:
    """Days with images that were seen but are not, or not as they are, in the generation."""
    version = pipeline_version(repository_of(settings))
    waiting = waiting_by_day(lake, newest_inventory(lake.storage), version)
    return [{"day": day, "images": images} for day, images in waiting.items()]
