"""``platemill rollback``: bring an older generation back."""

from __future__ import annotations

from typing import Annotated

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    WaitOption,
    print_json,
    print_table,
    say,
    stdout,
)
from platemill.settings import load_settings

__all__ = ["rollback"]


def rollback(
    home: HomeOption,
    to: Annotated[
        int, typer.Option(metavar="GENERATION", help="Its number in `platemill generations`.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be different.")
    ] = False,
    wait: WaitOption = None,
    json: JsonOption = False,
) -> None:
    """Bring an older generation back: SQL and the online store show it together.

    Nothing is lost: a new generation is published that holds what the older one held, so that the
    same command undoes it. May be killed at any moment and run again. Images that only the nights
    in between had are waiting again, and the next run recognises them.

        platemill generations --home ./home

        platemill rollback --home ./home --to 6 --dry-run

        platemill rollback --home ./home --to 6
    """
    from platemill.launch.generations import roll_back

    settings = load_settings(home=home, lease_wait_seconds=wait)
    said = roll_back(settings, to, dry_run=dry_run, log=say)
    if json:
        print_json(said)
        return
    if not said["changed"]:
        stdout.print(f"Generation {said['from']} holds what generation {to} held already.")
        return
    print_table(("rollback", ""), [(name.replace("_", " "), value) for name, value in said.items()])
    if dry_run:
        stdout.print("Nothing was changed: this was a dry run.")
