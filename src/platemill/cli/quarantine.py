"""``platemill quarantine``: images that could not be used, and another try at them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
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
from platemill.cli.run import print_summary
from platemill.errors import ConfigurationError
from platemill.settings import load_settings

__all__ = ["quarantine_app"]

quarantine_app = typer.Typer(
    name="quarantine",
    help="Images that could not be used: why, and another try at them.",
    no_args_is_help=True,
)

DayOption = Annotated[
    str | None, typer.Option("--day", help="Only images of this UTC day (YYYY-MM-DD).")
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Only images quarantined for this, truncated say.")
]
UriOption = Annotated[str | None, typer.Option("--uri", help="Only this image.")]

_REASONS = ("reason", "images", "days", "attempts", "example")
_IMAGES = ("reason", "stage", "attempts", "day", "camera_id", "uri", "detail")


@quarantine_app.command("list")
def list_(
    home: HomeOption,
    day: DayOption = None,
    reason: ReasonOption = None,
    uri: UriOption = None,
    json: JsonOption = False,
) -> None:
    """List quarantined images with reason, stage, attempts and the error's text.

        platemill quarantine list --home ./home --reason truncated

    Of the current generation; at the end a line a reason.
    """
    from platemill.launch.quarantine import list_quarantine

    found = list_quarantine(load_settings(home=home), day=_day(day), reason=reason, uri=uri)
    if json:
        print_json(found)
        return
    if not found["images"]:
        stdout.print("nothing is in quarantine" + (" that fits" if day or reason or uri else ""))
        return
    _show("quarantined images", _IMAGES, found["images"])
    _show("by reason", _REASONS, found["reasons"])


@quarantine_app.command()
def retry(
    home: HomeOption,
    day: DayOption = None,
    reason: ReasonOption = None,
    uri: UriOption = None,
    profile: ProfileOption = None,
    wait: WaitOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which images would be tried again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a night over quarantined images alone: those that are well now leave quarantine.

        platemill quarantine retry --home ./home --reason inference_failed

    The files are read again where they lie. The error budget does not stop this night, for its
    images are in quarantine already.
    """
    from platemill.launch.quarantine import retry_quarantine

    settings = load_settings(home=home, profile=profile, lease_wait_seconds=wait)
    chosen = _day(day)
    done = retry_quarantine(
        settings, console=stderr, day=chosen, reason=reason, uri=uri, dry_run=dry_run
    )
    if json:
        print_json(done)
        return
    if done["left_out"]:
        stdout.print(
            f"{done['left_out']} are of archives that cannot be read as a whole: mend those and "
            "run a night over them"
        )
    if not done["chosen"]:
        stdout.print("nothing in quarantine to try again")
        return
    if dry_run:
        _show(f"{done['chosen']} images would be tried again", _REASONS, done["reasons"])
        return
    print_summary(done["night"])


def _day(given: str | None) -> dt.date | None:
    try:
        return None if given is None else dt.date.fromisoformat(given)
    except ValueError as error:
        raise ConfigurationError(f"--day takes a date like 2026-05-04: {error}") from None


def _show(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    heads = [column.replace("_", " ") for column in columns]
    print_table(heads, [[row[column] for column in columns] for row in rows], title=title)
