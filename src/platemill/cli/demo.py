"""``platemill demo``: a small archive, a night over it, and what can be asked afterwards."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from platemill.cli.output import HomeOption, print_table, stderr, stdout
from platemill.cli.run import print_summary
from platemill.settings import load_settings

__all__ = ["demo"]

_BUSIEST = """
SELECT plate, sum(sightings)::INTEGER AS sightings, count(*) AS days,
       max(cameras) AS "most cameras a day", round(max(confidence_max), 3) AS "best confidence"
FROM plate_day_v1 GROUP BY plate ORDER BY sightings DESC, plate LIMIT 5
""".strip()

_LEFT_OUT = ("plate_day_v1__", "plate_month_v1__", "views")


def demo(
    home: HomeOption,
    photos: Annotated[Path, typer.Option(help="Folder that the rendered archive goes to.")],
    images: Annotated[int, typer.Option(min=20, help="Photos to render.")] = 400,
) -> None:
    """Render a small archive of street photos, run the night over it and ask it something."""
    from platemill.features.lookup import lookup
    from platemill.launch.night import run_night
    from platemill.render.archive import render_archive
    from platemill.warehouse.query import run_sql

    archives = [photos / "archive", photos / "late"]
    if not (photos / "truth.csv").exists():
        stderr.print(f"rendering {images} photos into {photos} …")
        render_archive(photos, images=images)
    settings = load_settings(home=home)
    summary = run_night(settings, [str(path) for path in archives], None, console=stderr)
    print_summary(summary)

    stdout.print("\n[bold]An analyst asks SQL:[/] the plates seen most often")
    busiest = run_sql(settings, _BUSIEST)
    print_table(busiest.column_names, [tuple(row.values()) for row in busiest.to_pylist()])

    plate = busiest["plate"][0].as_py() if busiest.num_rows else ""
    stdout.print(f"\n[bold]A service looks a plate up online:[/] {plate}")
    # The days of the archive stay the same, however long ago they are.
    (answer,) = lookup(settings, "plate", [plate], include_expired=True)
    shown = [item for item in answer.items() if not item[0].startswith(_LEFT_OUT)]
    print_table(("feature", "value"), shown)
    stdout.print("(and the same of its newest day and month)")

    where = shlex.quote(str(home))
    stdout.print("\n[bold]Three commands to try next:[/]")
    for command in (
        f'platemill sql --home {where} "SELECT camera_id, day, images, plates, quarantined '
        'FROM camera_day_v1 ORDER BY 2, 1"',
        f"platemill lookup --home {where} camera camera-1",
        f"platemill status --home {where}",
    ):
        stdout.print(f"  .venv/bin/{command}", markup=False, highlight=False, soft_wrap=True)
