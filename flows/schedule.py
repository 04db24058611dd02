"""Serve the nightly flow by a cron: ``python -m flows.schedule``, started by `platemill schedule`.

Starts the Prefect server, if the service has one of its own, registers the deployment and runs
Prefect's runner, which starts a process a night. Tells on stderr what becomes of every night.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    FlowRun,
    StateType,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import APILogHandler
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.states import Crashed

from flows.nightly import nightly
from flows.served import SERVED
from platemill.documents import write_json
from platemill.errors import PlatemillError, ServerUnavailable, error_record
from platemill.launch.prefect_server import PrefectServer
from platemill.launch.schedule import Service, own_server
from platemill.processes import end_with_parent
from platemill.settings import Settings, load_settings

__all__ = ["bury", "serve"]

_LOOK_SECONDS = 5.0
# The most often that Prefect allows: docs/alerts.md.
_HEARTBEAT_SECONDS = 30.0
_END_SECONDS = 75.0
# Prefect's words for a place that is taken.
_TAKEN = "Deployment concurrency limit reached"
_ALIVE = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)


def _say(text: str) -> None:
    print(f"{dt.datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}", file=sys.stderr, flush=True)


async def serve(settings: Settings, service: Service, server: PrefectServer | None) -> None:
    """Serve nights until SIGTERM.

    Args:
        settings: the deployment's settings; the nights inherit them as variables.
        service: which nights, when.
        server: the server of its own, or None if it uses another.

    Raises:
        ServerUnavailable: the server ended, or did not answer for too long.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with get_client() as client:
        if server is not None:
            # Nobody else serves this home and uses this server: whoever did is dead.
            await bury(client, f"{nightly.name}/{service.name}")
        deployment = await _deployment(nightly, settings, service)
        runner = Runner(
            name=service.name,
            # Without a limit of its own: a second night is to be cancelled, not to wait.
            limit=None,
            heartbeat_seconds=_HEARTBEAT_SECONDS,
            # On a server of its own what is missed while nobody serves is made up for.
            pause_on_shutdown=server is None,
        )
        deployment_id = await runner.aadd_deployment(deployment)
        if service.once_now:
            run = await client.create_flow_run_from_deployment(deployment_id)
            _say(f"night {run.name} begins now")
        serving = asyncio.create_task(runner.start())
        telling = asyncio.create_task(_tell(client, deployment_id))
        await asyncio.sleep(0)
        # After the runner has set its own, which ends the process before the night's state is told.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        _say(f"serving {nightly.name}/{service.name}")
        try:
            await _until(stop, serving, server)
        finally:
            telling.cancel()
            with contextlib.suppress(RuntimeError):  # it says so if it has ended already
                await runner.astop()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([serving], timeout=_END_SECONDS)
            # While the server is still there.
            await APILogHandler.aflush()


async def _deployment(flow: Flow[..., Any], settings: Settings, service: Service) -> Any:
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    return await flow.ato_deployment(
        service.name,
        schedules=[Cron(service.cron.text, timezone=service.cron.timezone, slug="nights")],
        paused=False,
        concurrency_limit=one,
        parameters={
            "home": str(settings.home),
            "archives": list(service.archives),
            "layout": settings.layout,
        },
        description="Served by `platemill schedule`.",
        tags=["platemill", SERVED],
    )


async def bury(client: PrefectClient, name: str) -> None:
    """Set nights to Crashed that a process was running which is gone, so that others may begin."""
    try:
        deployment = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_ALIVE)))
    for run in await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=state), deployment_filter=_only(deployment.id)
    ):
        gone = Crashed(message="The process that served it was killed; what it did is kept.")
        await client.set_flow_run_state(run.id, gone, force=True)
        _say(f"night {run.name} was killed with the process that served it; what it did is kept")


async def _tell(client: PrefectClient, deployment_id: UUID) -> None:
    """Say what becomes of every night, as it comes."""
    told: dict[UUID, str] = {}
    since = dt.datetime.now(dt.UTC)
    while True:
        with contextlib.suppress(Exception):  # the runner says if the API does not answer
            soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
            due = FlowRunFilterExpectedStartTime(before_=soon)
            runs = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(expected_start_time=due),
                deployment_filter=_only(deployment_id),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=50,
            )
            for run in sorted(runs, key=_expected):
                if run.state is None or (run.state.is_scheduled() and run.id not in told):
                    continue
                if run.state.is_final() and run.state.timestamp < since:
                    continue
                if told.get(run.id) != run.state.name:
                    told[run.id] = run.state.name
                    _say(_line(run))
        await asyncio.sleep(_LOOK_SECONDS)


def _line(run: FlowRun) -> str:
    assert run.state is not None
    message = f": {run.state.message}" if run.state.message else ""
    if run.state.is_cancelled() and not run.run_count and run.state.message:
        message = f", it did not begin: {run.state.message}"
        if run.state.message.startswith(_TAKEN):
            message += " The night before still runs; what is new is found by the next one"
    return f"night {run.name} of {_expected(run):%Y-%m-%d %H:%M} UTC: {run.state.name}{message}"


def _expected(run: FlowRun) -> dt.datetime:
    at = run.expected_start_time or run.created
    assert at is not None
    return at.astimezone(dt.UTC)


def _only(deployment_id: UUID) -> DeploymentFilter:
    return DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))


async def _until(
    stop: asyncio.Event, serving: asyncio.Task[None], server: PrefectServer | None
) -> None:
    """Wait until it is to stop.

    Raises:
        ServerUnavailable: the runner or the server ended by itself.
    """
    while not stop.is_set():
        if server is not None and server.has_ended():
            raise ServerUnavailable(
                f"the Prefect server ended; its log is {server.log}. Start the schedule again: a "
                "night that was missed is made up for"
            )
        if serving.done():
            why = None if serving.cancelled() else serving.exception()
            raise ServerUnavailable(
                f"Prefect's runner ended: {why or 'it did not say why'}. Does the API answer? "
                "Start the schedule again: a night that was missed is made up for"
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> int:
    """Serve what the request says; ``error.json`` beside it says why it ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", type=Path, required=True, help="file of `platemill schedule`")
    parser.add_argument("--parent", type=int, required=True, help="process to end with")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)
    end_with_parent(signal.SIGTERM, arguments.parent)
    settings, service = load_settings(), Service.load(arguments.service)
    try:
        with contextlib.ExitStack() as stack:
            server = None
            if service.port is not None:
                server = own_server(settings, service.port)
                _say(f"starting a Prefect server at {server.url}")
                stack.enter_context(server)
            asyncio.run(serve(settings, service, server))
    except PlatemillError as error:
        write_json(arguments.service.with_name("error.json"), error_record(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
