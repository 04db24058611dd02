"""Nights that were missed: however many there are, one makes up for them.

A machine that slept, a server or a worker that was down: afterwards several scheduled runs of a
deployment are late at once. The first that begins finds all that is new, whatever day it was for,
so it cancels the others.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.states import Cancelled

__all__ = ["cancel_missed"]

# Not the states of runs that have begun once and wait to go on.
_NOT_BEGUN = ("Scheduled", "Late")


def cancel_missed(logger: logging.Logger | logging.LoggerAdapter[Any]) -> int:
    """Cancel the other scheduled runs of this run's deployment that are due; returns how many.

    A run that no deployment made cancels nothing. If the API does not answer, the run goes on: then
    each of the others begins in its turn, and finds nothing new.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None:
        return 0
    try:
        with get_client(sync_client=True) as client:
            missed = [
                other for other in _due(client, run.deployment_id) if _is_missed(other, run.id)
            ]
            for other in missed:
                message = f"Missed; night {run.name} makes up for it."
                client.set_flow_run_state(other.id, Cancelled(message=message))
                logger.warning(
                    "night %s of %s was missed; this night makes up for it",
                    other.name,
                    other.expected_start_time,
                )
    except Exception as error:
        logger.warning("missed nights, if there are any, are not cancelled: %s", error)
        return 0
    return len(missed)


def _is_missed(other: FlowRun, mine: UUID) -> bool:
    name = other.state.name if other.state is not None else None
    return other.id != mine and bool(other.auto_scheduled) and name in _NOT_BEGUN


def _due(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    now = dt.datetime.now(dt.UTC)
    scheduled = FlowRunFilterStateType(any_=[StateType.SCHEDULED])
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            state=FlowRunFilterState(type=scheduled),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=now),
        )
    )
