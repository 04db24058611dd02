"""``platemill run``: one night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    WaitOption,
    print_json,
    print_table,
    stderr,
    stdout,
)
from platemill.costs.words import cost_lines
from platemill.errors import ConfigurationError
from platemill.launch.records import PAGE
from platemill.settings import load_settings

__all__ = ["days_given", "print_summary", "run"]


def days_given(given: list[str]) -> frozenset[dt.date] | None:
    """The days of ``--day``; None if there is none."""
    try:
        return frozenset(dt.date.fromisoformat(day) for day in given) or None
    except ValueError as error:
        raise ConfigurationError(f"--day takes a date like 2026-05-04: {error}") from None


def run(
    home: HomeOption,
    archive: Annotated[
        list[str],
        typer.Option(help="A folder, a .tar or a .zip, or a folder of such files. Repeatable."),
    ],
    day: Annotated[
        list[str], typer.Option(help="Only images of this UTC day (YYYY-MM-DD). Repeatable.")
    ] = [],  # noqa: B006 (typer reads the default, nothing changes it)
    layout: Annotated[
        str | None,
        typer.Option(
            help="Path template that camera and time are read from, "
            "'{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg' say."
        ),
    ] = None,
    profile: ProfileOption = None,
    error_budget: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of a day's images that may be quarantined; above it the night stops before "
            "publishing. Default: the setting, 0.01.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="PRICE",
            help="What the night may cost, by PLATEMILL_NODE_PRICES. Days that it does not pay for "
            "are left, whole, for another night; the newest come first (docs/costs.md).",
        ),
    ] = None,
    rehash: Annotated[
        bool,
        typer.Option("--rehash", help="Read every image anew, as if size and time said nothing."),
    ] = False,
    wait: WaitOption = None,
    json: JsonOption = False,
) -> None:
    """Run one night: find what is new, recognise it, grind the tiles, check, publish.

    A night that was killed is simply run again: what was done is not done twice. A night that
    finds nothing new ends in seconds. Of two runs that find the same days the second waits for the
    first, then does what is left.

        platemill run --home ./home --archive ./photos
    """
    from platemill.launch.night import run_night

    settings = load_settings(
        home=home,
        layout=layout,
        profile=profile,
        error_budget=error_budget,
        rehash=rehash or None,
        lease_wait_seconds=wait,
    )
    summary = run_night(settings, archive, days_given(day), console=stderr, budget=budget)
    if json:
        print_json(summary)
        return
    print_summary(summary)
    page = settings.runs / summary["run_id"] / PAGE
    if page.exists():
        stdout.print(f"the page of the night: {page}", highlight=False, soft_wrap=True)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what a night did as a short table, or in one line that there was nothing to do."""
    if not summary["images_new"]:
        for what in ("deleted", "returned"):
            if summary[f"images_{what}"]:
                stdout.print(f"{summary[f'images_{what}']:,} images were marked as {what}.")
        if summary.get("images_left"):
            stdout.print(
                f"No day was finished within the budget: {summary['images_left']:,} images of "
                f"{summary['days_left']} days are left; generation {summary['generation']} stands."
            )
            return
        stdout.print(
            f"Nothing new in {summary['images_seen']:,} images; "
            f"generation {summary['generation']} stands."
        )
        return
    rows = [(name, value) for name, value in summary.items() if name not in ("seconds", "costs")]
    rows += cost_lines(summary.get("costs"))
    rows += [(f"seconds: {stage}", value) for stage, value in summary["seconds"].items()]
    print_table(("night", ""), [(name.replace("_", " "), value) for name, value in rows])
