"""``platemill report``: the page of one night."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from platemill.cli.output import HomeOption, JsonOption, ProfileOption, print_json, say, stdout
from platemill.settings import load_settings

__all__ = ["report"]


def report(
    home: HomeOption,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run; default: the newest.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the page goes; default: HOME/runs/RUN/report.html."
        ),
    ] = None,
    photos: Annotated[
        int | None,
        typer.Option(min=0, max=200, help="How many photos it shows at most; default: 24."),
    ] = None,
    no_photos: Annotated[
        bool,
        typer.Option(
            "--no-photos", help="No photo, no plate and no photo's name: to be passed on."
        ),
    ] = False,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Write one self-contained page of a night, whether it ended well, failed or still runs.

    What came, what was done, what failed and why, the course of its stages and workers, what it
    cost, what the checks found, late days, models, and the least confident photos with their boxes
    and texts. The flow writes it at the end of each night; a photo is private, and so is the page.

        platemill report --home ./home
    """
    from platemill.report import write_report

    settings = load_settings(home=home, profile=profile)
    said = write_report(settings, run, out=out, photos=0 if no_photos else photos)
    if json:
        print_json(said)
        return
    for note in said["notes"]:
        say(f"warning: {note}")
    size, shown = said["bytes"] / 1e6, said["photos"]
    stdout.print(
        f"run {said['run_id']}, {said['state']}: {size:.1f} MB with {shown} photos", highlight=False
    )
    stdout.print(said["out"], highlight=False, soft_wrap=True)
