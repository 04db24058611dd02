"""``platemill vacuum``: remove what nobody needs any more."""

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

__all__ = ["vacuum"]


def vacuum(
    home: HomeOption,
    keep: Annotated[
        int,
        typer.Option(
            min=2, help="How many generations stay. Two at least: readers may have the last open."
        ),
    ] = 7,
    staged_days: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long shards stay that were recognised by a run that died before it "
            "published. They make the next run cheap.",
        ),
    ] = 30.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed.")
    ] = False,
    wait: WaitOption = None,
    json: JsonOption = False,
) -> None:
    """Remove old generations, and every file that neither the others nor a run needs.

    Safe beside nights and readers, and to kill at any moment: the next one goes on. A generation
    that is removed cannot be rolled back to.

        platemill vacuum --home ./home --keep 14 --dry-run

        platemill vacuum --home ./home --keep 14
    """
    from platemill.launch.generations import vacuum as remove

    settings = load_settings(home=home, lease_wait_seconds=wait)
    said = remove(settings, keep=keep, staged_days=staged_days, dry_run=dry_run, log=say)
    if json:
        print_json(said)
        return
    rows = [(row["kind"], row["files"], row["bytes"]) for row in said["kinds"]]
    print_table(("kind", "files", "bytes"), [*rows, ("all", said["files"], said["bytes"])])
    verb = "would remove" if dry_run else "removed"
    stdout.print(f"{verb} {len(said['removed'])} generations, {len(said['kept'])} are left")
