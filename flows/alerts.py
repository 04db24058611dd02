"""Alerts: automations of the Prefect server that call a webhook when a night needs a person.

``python -m flows.alerts --webhook URL`` creates them on the server of ``PREFECT_API_URL``, or
brings them up to date. The message is JSON with a ``text``, as Slack, Mattermost and their like
take it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import sys
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events import (
    AutomationCore,
    CallWebhook,
    ChangeFlowRunState,
    EventTrigger,
    Posture,
)
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import StateType
from prefect.types import SecretDict
from pydantic import SecretStr

__all__ = ["automations", "install"]

BLOCK = "platemill-alerts"
FLOWS = ["nightly", "backfill", "vacuum"]

_ENDS = {f"prefect.flow-run.{end}" for end in ("Completed", "Failed", "Crashed", "Cancelled")}
_WORDS = (
    "flow.name ~ ' ' ~ flow_run.name ~ ': ' ~ flow_run.state.name ~ '. ' ~ "
    "(flow_run.state.message or '') ~ ' ' ~ (flow_run | ui_url)"
)


def _of(flows: list[str]) -> ResourceSpecification:
    related = {"prefect.resource.role": "flow", "prefect.resource.name": flows}
    return ResourceSpecification.model_validate(related)


def automations(webhook: UUID, hours: float = 26.0) -> list[AutomationCore]:
    """The automations, not created yet.

    Args:
        webhook: id of the block that is called.
        hours: how long after a finished night the next has to be finished.
    """
    run = ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"})
    about_a_run = CallWebhook(
        block_document_id=webhook, payload="{" + f'"text": {{{{ ({_WORDS}) | tojson }}}}' + "}"
    )
    silence = f'{{"text": "platemill: no night was finished within {hours:g} hours"}}'
    return [
        AutomationCore(
            name="platemill: a run failed",
            description="A night, backfill or vacuum ended otherwise than well.",
            trigger=EventTrigger(
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
                | {"prefect.flow-run.TimedOut"},
                match=run,
                match_related=_of(FLOWS),
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[about_a_run],
        ),
        AutomationCore(
            name="platemill: a night did not begin",
            description="It is late, or was cancelled because the one before still runs.",
            trigger=EventTrigger(
                expect={"prefect.flow-run.Late", "prefect.flow-run.Cancelled"},
                match=run,
                match_related=_of(["nightly"]),
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[about_a_run],
        ),
        AutomationCore(
            name="platemill: no night",
            description="Nothing says that a night failed, for none was there.",
            trigger=EventTrigger(
                after={"prefect.flow-run.Completed"},
                expect={"prefect.flow-run.Completed"},
                match=run,
                match_related=_of(["nightly"]),
                posture=Posture.Proactive,
                threshold=1,
                within=dt.timedelta(hours=hours),
            ),
            actions=[CallWebhook(block_document_id=webhook, payload=silence)],
        ),
        AutomationCore(
            name="platemill: a run died",
            description="A run whose heartbeat stopped is set to Crashed: its place is free, and "
            "the alert above is raised.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *_ENDS},
                match=run,
                match_related=_of(FLOWS),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=dt.timedelta(minutes=3),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message="No heartbeat for three minutes: its process is gone.",
                )
            ],
        ),
    ]


async def install(client: PrefectClient, url: str, hours: float = 26.0) -> list[str]:
    """Create the automations and the block that holds the webhook, or bring them up to date.

    Args:
        client: of the server.
        url: the webhook; it is kept as a secret.
        hours: as in ``automations``.

    Returns:
        The automations' names.
    """
    headers = SecretDict({"Content-Type": "application/json"})
    block = Webhook(method="POST", url=SecretStr(url), headers=headers)
    webhook = await block.asave(BLOCK, overwrite=True, client=client)
    names = []
    for wanted in automations(webhook, hours):
        known = await client.read_automations_by_name(wanted.name)
        if known:
            await client.update_automation(known[0].id, wanted)
        else:
            await client.create_automation(wanted)
        names.append(wanted.name)
    return names


async def _install(url: str, hours: float) -> list[str]:
    async with get_client() as client:
        return await install(client, url, hours)


def main() -> int:
    """Install the alerts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--webhook", required=True, help="URL that takes JSON with a text")
    parser.add_argument(
        "--hours", type=float, default=26.0, help="most hours from one finished night to the next"
    )
    given = parser.parse_args()
    if urlsplit(given.webhook).scheme not in ("http", "https"):
        parser.error(f"--webhook takes a URL with http:// or https://, not {given.webhook}")
    if given.hours <= 0:
        parser.error("--hours is more than 0")
    for name in asyncio.run(_install(given.webhook, given.hours)):
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
