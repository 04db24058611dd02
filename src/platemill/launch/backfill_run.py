"""``run_backfill``: what the command line does for a backfill.

As of a night, the inventory and the plan are made here, so that one that finds nothing ends in
seconds; everything else is the flow ``flows.backfill``, in a process of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console

from platemill.launch.backfill import prepare
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.night import new_run_id, prepared, run_flow
from platemill.launch.stages import Night
from platemill.observe.run import recorded
from platemill.settings import Settings

__all__ = ["run_backfill"]

FLOW: Final = "flows.backfill"


def run_backfill(
    settings: Settings,
    archives: Sequence[str],
    days: Sequence[dt.date],
    parallel: int,
    *,
    console: Console,
) -> dict[str, Any]:
    """Recognise and publish what is waiting of some days; returns the summary.

    Args:
        settings: the deployment's settings.
        archives: folders, ``.tar`` or ``.zip`` files.
        days: UTC days, ascending.
        parallel: parts that are worked on at once.
        console: where progress and warnings go.

    Returns:
        As `Backfill.finish`.

    Raises:
        ConfigurationError: an archive or a setting is wrong.
        PlatemillError: what the worst part ended with; what the others did is published.
    """
    lead = Night.new(settings, new_run_id(), archives, frozenset(days))
    with recorded(settings, lead.run_id):
        with Heartbeat(lead.folder, settings.lease_seconds) as heart:
            with lead.ending():
                prepared(lead, console)
                asked = prepare(lead, days[0], days[-1], parallel)
                if not asked.parts:
                    return asked.finish(settings.runs, lead.generation(), lead.elapsed())
            heart.leave()
        run_flow(settings, FLOW, lead.folder)
    return asked.summary(settings.runs)
