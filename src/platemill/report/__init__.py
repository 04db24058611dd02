"""One page of a night: what came, what was done, what failed and why, what it took and cost.

``gather`` reads the run's folder, the lake and the archive into plain ``NightFacts``; ``page``
renders them. Neither changes anything but the page.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from platemill.launch.records import PAGE
from platemill.report.gather import gather, newest_run
from platemill.report.page import write_page
from platemill.settings import Settings

__all__ = ["newest_run", "write_report"]


def write_report(
    settings: Settings,
    run_id: str | None = None,
    *,
    out: Path | None = None,
    photos: int | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Write the page of a run.

    Args:
        settings: where the home, the models and the archives are.
        run_id: the run; default: the one that was asked for last.
        out: the file; default: ``report.html`` in the run's folder.
        photos: how many photos it may show; default: the setting; 0: nothing personal.
        now: the time of the look; default: the clock's.

    Returns:
        ``run_id, state, out, bytes, photos`` and ``notes``: what could not be read.

    Raises:
        ConfigurationError: there is no such run.
        RetryableError: the disk is full.
    """
    run_id = run_id or newest_run(settings)
    wanted = settings.report_photos if photos is None else photos
    facts = gather(settings, run_id, photos=wanted, now=now)
    path = (out or settings.runs / run_id / PAGE).resolve()
    size = write_page(path, facts)
    return {
        "run_id": run_id,
        "state": facts.state,
        "out": str(path),
        "bytes": size,
        "photos": len(facts.photos),
        "notes": list(facts.notes),
    }
