"""``platemill tune``: how many instances, and how many images a request, this machine wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    print_json,
    print_table,
    say,
    stdout,
)
from platemill.errors import ConfigurationError
from platemill.settings import load_settings

__all__ = ["tune"]

_DIFFERENT = 24


def tune(
    home: HomeOption,
    photos: Annotated[
        Path | None,
        typer.Option("--photos", help="Folder of JPEGs like yours; default: rendered streets."),
    ] = None,
    profile: ProfileOption = None,
    instances: Annotated[
        list[int] | None,
        typer.Option("--instances", min=1, help="Instances to try; default: about the cores."),
    ] = None,
    images: Annotated[
        list[int] | None,
        typer.Option("--images", min=1, help="Images a request to try; default: 1, 4, 8 and 16."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each choice.")] = 3,
    count: Annotated[int, typer.Option("--count", min=1, help="Images of a round.")] = 96,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure and show.")] = False,
    json: JsonOption = False,
) -> None:
    """Sweep the settings of bulk recognition and write the overlay that is fastest here.

    The overlay is HOME/overlay/plate_bulk/config.pbtxt; the next night uses it, and removing it
    undoes it. It changes no result and no pipeline version. Minutes; leave the machine alone.

        platemill tune --home ./home --photos ./some-photos
    """
    from platemill.launch.tuning import (
        overlay_text,
        recommended,
        street_photos,
        sweep,
        write_overlay,
    )

    settings = load_settings(home=home, profile=profile)
    if photos is None:
        files = street_photos(_DIFFERENT)
    else:
        files = [path.read_bytes() for path in sorted(photos.glob("*.jp*g"))]
        if not files:
            raise ConfigurationError(f"there is no JPEG in {photos}")
    cores = len(os.sched_getaffinity(0))
    trials = sweep(
        settings,
        files,
        instances or sorted({max(1, cores // 2), cores, cores + 1}),
        images or [1, 4, 8, 16],
        rounds=rounds,
        count=count,
        tell=say,
    )
    choice = recommended(trials)
    path = None if dry_run else write_overlay(settings, overlay_text(choice, trials))
    if json:
        print_json(
            {
                "instances": choice.instances,
                "images": choice.images,
                "overlay": path,
                "trials": [
                    {
                        "instances": trial.choice.instances,
                        "images": trial.choice.images,
                        "images_per_second": trial.rates,
                        "requests": trial.requests,
                    }
                    for trial in trials
                ],
            }
        )
        return
    print_table(
        ("instances", "images a request", "images/s", "from", "to", "requests in flight"),
        [
            (
                trial.choice.instances,
                trial.choice.images,
                round(trial.rate, 1),
                round(min(trial.rates), 1),
                round(max(trial.rates), 1),
                trial.requests,
            )
            for trial in trials
        ],
    )
    stdout.print(f"fastest here: {choice.instances} instances, {choice.images} images a request")
    if path is not None:
        stdout.print(f"written: {path}", soft_wrap=True, highlight=False)
