"""What ``platemill status`` reports, read from the run folders, the lake and the warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platemill.lake import Lake, open_lake
from platemill.lake.inventory import newest_inventory
from platemill.launch.records import REQUEST
from platemill.launch.run_state import standing
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
    found = sorted(folder.glob(f"*/{REQUEST}"), reverse=True)[:_NEWEST]
    return [standing(request.parent) for request in found]


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
