"""The backfill flow: the days from one to another, recognised and published.

``backfill`` is what ``platemill backfill`` does, for a deployment.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.nightly import nightly
from platemill.launch.backfill import days_between, require_version
from platemill.settings import load_settings

__all__ = ["backfill"]


@flow(name="backfill", log_prints=True, persist_result=False, validate_parameters=False)
def backfill(
    home: str | None = None,
    archives: list[str] | None = None,
    start: str | None = None,
    end: str | None = None,
    parallel: int = 2,
    layout: str | None = None,
    pipeline_version: str | None = None,
) -> dict[str, Any]:
    """Recognise and publish what is waiting of some days.

    Args:
        home: the deployment's folder; default: the setting.
        archives: folders, ``.tar`` or ``.zip`` files.
        start: the first UTC day (YYYY-MM-DD).
        end: the last UTC day.
        parallel: days that are worked on at once.
        layout: path template; default: the setting.
        pipeline_version: what the pipeline has to be; anything else is refused.
    """
    days = days_between(start, end)
    settings = load_settings(home=home, layout=layout)
    require_version(settings, pipeline_version)
    return nightly(home, archives, [str(day) for day in days], layout)
