"""The backfill flow: the days from one to another, in parts that are nights of their own.

``python -m flows.backfill --run-id R`` is what ``platemill backfill`` runs; a deployment calls
``backfill`` with its parameters.
"""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client

from flows.prepared import run_prepared
from flows.progress_page import ProgressPage, TablePage
from flows.served import end_with_runner
from platemill.launch.backfill import Backfill, days_between, prepare, require_version
from platemill.launch.backfill_parts import run_parts
from platemill.launch.backfill_progress import BackfillProgress
from platemill.launch.clusters import shared_cluster
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.night import new_run_id
from platemill.launch.stages import Night
from platemill.observe.run import observed
from platemill.settings import Settings, load_settings

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
    run_id: str | None = None,
) -> dict[str, Any]:
    """Recognise and publish what is waiting of some days; returns the summary.

    Args:
        home: the deployment's folder; default: the setting.
        archives: folders, ``.tar`` or ``.zip`` files.
        start: the first UTC day (YYYY-MM-DD).
        end: the last UTC day.
        parallel: parts that are worked on at once.
        layout: path template; default: the setting.
        pipeline_version: what the pipeline has to be; anything else is refused.
        run_id: a backfill that was prepared already; nothing else is asked then.
    """
    end_with_runner()
    settings = load_settings(home=home, layout=layout)
    if run_id is not None:
        lead = Night.load(settings, run_id)
    else:
        days = days_between(start, end)
        require_version(settings, pipeline_version)
        lead = Night.new(settings, new_run_id(), archives or [], frozenset(days))
    with (
        Heartbeat(lead.folder, settings.lease_seconds),
        observed(settings, lead.run_id),
        lead.ending(),
    ):
        if run_id is not None:
            return _run(settings, lead, Backfill.load(settings.runs, run_id))
        lead.repair()
        lead.inventory()
        lead.plan()
        return _run(settings, lead, prepare(lead, days[0], days[-1], parallel))


def _run(settings: Settings, lead: Night, asked: Backfill) -> dict[str, Any]:
    logger = get_run_logger()
    for warning in lead.warnings():
        logger.warning("%s", warning)
    images = sum(part.images for part in asked.parts)
    logger.info("%d images wait, in %d parts", images, len(asked.parts))
    if asked.parts:
        with (
            TablePage("backfill", logger.warning) as table,
            ProgressPage("progress-backfill", logger.warning) as page,
            shared_cluster(settings, lead.run_id, min(asked.parallel, len(asked.parts))) as access,
            BackfillProgress(page.show) as progress,
        ):

            def tell(rows: list[dict[str, Any]]) -> None:
                progress.update(rows)
                table.show(f"Backfill {lead.run_id}", _artifact_rows(rows))

            run_parts(lead, asked, settings, {**access, **_same_server()}, tell)
    return asked.finish(settings.runs, lead.generation(), lead.elapsed())


def _same_server() -> dict[str, str]:
    """The variable by which the parts use this flow's Prefect server."""
    with get_client(sync_client=True) as client:
        return {"PREFECT_API_URL": str(client.api_url).rstrip("/")}


def _artifact_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts' rows as an artifact can hold them."""
    return [
        {name: value if value is None else str(value) for name, value in row.items()}
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(run_prepared(backfill, __doc__))
