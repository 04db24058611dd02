"""``platemill catalog``: the feature catalogue as static pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from platemill.cli.output import HomeOption, JsonOption, print_json, say, stdout
from platemill.settings import load_settings

__all__ = ["catalog"]


def catalog(
    home: HomeOption,
    out: Annotated[
        Path,
        typer.Option(help="Folder that the pages go to: new, empty, or a catalogue to replace."),
    ],
    show_values: Annotated[
        bool,
        typer.Option(
            "--show-values",
            help="Also show values of columns that hold personal data: plates, say.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write the feature catalogue as static pages: open index.html, no server and no network.

    Every table, view, field and service: description, unit, owner, freshness, rows, null shares, a
    histogram and a line over time for each column, lineage, and SQL and Python to paste.

    The same generation gives the same pages. The old catalogue stays until the new one is whole.

        platemill catalog --home ./home --out ./catalog
    """
    from platemill.catalog import write_catalog

    settings = load_settings(home=home)
    said = write_catalog(settings, out, show_values=show_values, log=lambda text: say(f"… {text}"))
    if json:
        print_json(said)
        return
    what = "no night yet" if said["generation"] is None else f"generation {said['generation']}"
    stdout.print(
        f"{said['pages']} pages of {said['tables']} tables, {what}, in {said['seconds']:.1f} s:",
        highlight=False,
    )
    stdout.print(str(Path(said["out"]) / "index.html"), highlight=False, soft_wrap=True)
