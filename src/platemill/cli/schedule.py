"""``platemill schedule``: nights by a cron, on one machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    print_json,
    say,
    stdout,
)
from platemill.settings import load_settings

__all__ = ["schedule"]


def schedule(
    home: HomeOption,
    archive: Annotated[
        list[str],
        typer.Option(help="A folder, a .tar or a .zip, or a folder of such files. Repeatable."),
    ],
    cron: Annotated[
        str,
        typer.Option(help="Minute, hour, day of the month, month, day of the week: '0 2 * * *'."),
    ],
    timezone: Annotated[
        str, typer.Option(help="Where the cron's clock hangs: a name as Europe/Berlin.")
    ] = "UTC",
    layout: Annotated[
        str | None,
        typer.Option(help="Path template that camera and time are read from."),
    ] = None,
    profile: ProfileOption = None,
    error_budget: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Share of a day's images that may be quarantined; default 0.01."
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65535,
            help="Where the schedule's own Prefect server listens, on loopback alone. Not used if "
            "PREFECT_API_URL says where a server is.",
        ),
    ] = 4200,
    name: Annotated[
        str,
        typer.Option(help="Name of the deployment in Prefect: nightly/NAME."),
    ] = "schedule",
    once_now: Annotated[bool, typer.Option("--once-now", help="Run a night at once, too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the next nights, and end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a night whenever the cron says so, until Ctrl-C or SIGTERM.

    Everything is checked at once: the cron, the settings, the archives. A night that fails does not
    end the schedule. Of nights that were missed, because the machine slept or was off, one is made
    up for. While a night runs no other begins: docs/scheduling.md.

        platemill schedule --home ./home --archive ./photos --cron "0 2 * * *"

        platemill schedule --home ./home --archive ./photos --cron "@daily" --dry-run
    """
    from platemill.launch.schedule import Cron, Service, check_service, next_lines, serve_nights

    settings = load_settings(home=home, layout=layout, profile=profile, error_budget=error_budget)
    when = Cron(cron, timezone)
    elsewhere = os.environ.get("PREFECT_API_URL")
    asked = Service(when, tuple(archive), name, None if elsewhere else port, once_now)
    service = check_service(settings, asked)
    times = when.next_times(3)
    if json:
        print_json({"cron": cron, "timezone": timezone, "next": times})
    else:
        stdout.print("the next nights:")
        for line in next_lines(when, times):
            stdout.print(f"  {line}", highlight=False)
    if not dry_run:
        serve_nights(settings, service, say)
