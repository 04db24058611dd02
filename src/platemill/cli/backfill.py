"""``platemill backfill``: days of the past, several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    WaitOption,
    print_json,
    say,
    stderr,
    stdout,
)
from platemill.errors import ConfigurationError
from platemill.settings import load_settings

__all__ = ["backfill"]


def backfill(
    home: HomeOption,
    archive: Annotated[
        list[str],
        typer.Option(help="A folder, a .tar or a .zip, or a folder of such files. Repeatable."),
    ] = [],  # noqa: B006 (typer reads the default, nothing changes it)
    start: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The first UTC day, 2026-05-01 say.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="The last UTC day; it may be today.")
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, max=64, help="Parts that are worked on at once.")
    ] = 2,
    pipeline_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Refuse to begin if the models give another version than this."
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Path template that camera and time are read from.")
    ] = None,
    profile: ProfileOption = None,
    wait: WaitOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the parts; start nothing and write nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show how the newest backfill of the home stands.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Recognise and publish what is waiting of some days, in parts that are worked on at once.

    A part is a run of its own over days that follow each other: it is published when it is done,
    and one that fails does not stop the others. The same command goes on where it was stopped.
    Nights may run meanwhile: docs/backfill.md.

        platemill backfill --home ./home --archive ./photos --from 2026-05-01 --to 2026-05-31
    """
    from platemill.launch.backfill import days_between, newest_backfill, require_version

    settings = load_settings(home=home, layout=layout, profile=profile, lease_wait_seconds=wait)
    if status:
        newest = newest_backfill(settings.runs)
        if newest is None:
            raise ConfigurationError(f"there was no backfill in {settings.home}")
        rows = newest.rows(settings.runs)
        _show({"run_id": newest.run_id, "parts": rows}, rows, as_json=json)
        return
    if not archive:
        raise ConfigurationError("--archive is missing: where are the photos?")
    days = days_between(start, end)
    require_version(settings, pipeline_version)
    if dry_run:
        from platemill.launch.backfill import Part, divide
        from platemill.launch.outlook import dry_run as look

        found = look(settings, archive, frozenset(days), None)
        images = {work.day: work.images for work in found.days}
        cut = enumerate(divide(images, parallel), 1)
        parts = [
            Part(f"part-{number}", part, sum(images[day] for day in part)).row(settings.runs)
            for number, part in cut
        ]
        _show({"pipeline_version": found.pipeline_version, "parts": parts}, parts, as_json=json)
        return
    from platemill.launch.backfill_run import run_backfill

    summary = run_backfill(settings, archive, days, parallel, console=stderr)
    _show(summary, summary["parts"], as_json=json)
    if not json and summary["parts"]:
        say(
            f"{summary['images_new']:,} images in {len(summary['parts'])} parts, "
            f"{summary['plates']:,} plates; generation {summary['generation']}"
        )


def _show(answer: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    elif not parts:
        stdout.print("Nothing is waiting of these days.")
    else:
        from platemill.launch.backfill_progress import table_of

        stdout.print(table_of(parts))
