"""``platemill profile check|show``: networks and plate formats of one's own."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from platemill.cli.output import JsonOption, print_json, stderr, stdout
from platemill.errors import ConfigurationError, ImageRejected
from platemill.settings import Settings, load_settings
from platemill.vision.profile import BUILT_IN
from platemill.vision.profile_file import load_profile, profile_text

if TYPE_CHECKING:
    from platemill.serving.check import Photo
    from platemill.serving.reading import PlateReading

__all__ = ["profile_app"]

profile_app = typer.Typer(
    help="Networks and plate formats of your own, by a file: docs/profiles.md.",
    no_args_is_help=True,
)

_DRAWN = "A123BC77"


@profile_app.command()
def check(
    profile: Annotated[Path, typer.Argument(help="The profile's file, in TOML.")],
    photo: Annotated[
        Path | None, typer.Option(help="A photo that shows a plate; default: one is drawn.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Load every network of a profile, run one photo through it, say what is wrong and its cure.

    The networks run one by one in Triton's environment, then as the four models of a real server.
    Exit code 2 if something is wrong.

        platemill profile check my.toml --photo my.jpg
    """
    from platemill.serving.check import check_profile
    from platemill.serving.environment import Finding

    checks: list[dict[str, Any]] = []
    plates: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="platemill-") as folder:
        workdir = Path(folder)
        settings = load_settings(home=workdir)
        tried = _drawn() if photo is None else _read(photo, settings)
        for found in check_profile(profile, settings, tried, workdir):
            if not isinstance(found, Finding):
                plates = _plates(found)
                continue
            checks.append(asdict(found))
            if not json:
                _print(found.what, found.ok, found.seen, found.cure)
    ok = all(row["ok"] for row in checks)
    if json:
        print_json({"ok": ok, "checks": checks, "plates": plates})
    elif ok:
        stdout.print("the profile works: `platemill run --profile` takes it", markup=False)
    if not ok:
        raise typer.Exit(2)


@profile_app.command()
def show(
    profile: Annotated[
        Path | None, typer.Argument(help="The profile's file; default: the built-in profile.")
    ] = None,
) -> None:
    """Print a profile with every key, its meaning and its value: something to start from.

    platemill profile show > my.toml
    """
    chosen = BUILT_IN if profile is None else load_profile(profile)
    typer.echo(profile_text(chosen, explained=True), nl=False)


def _print(what: str, ok: bool, seen: str, cure: str) -> None:
    mark = "[green]ok   [/]" if ok else "[bold red]wrong[/]"
    stdout.print(mark, end=" ")
    stdout.print(f"{what}: {seen}", markup=False, highlight=False, soft_wrap=True)
    if not ok and cure:
        stdout.print(f"      cure: {cure}", markup=False, highlight=False, soft_wrap=True)


def _plates(reading: PlateReading) -> list[dict[str, Any]]:
    rows = zip(
        reading.boxes,
        reading.texts,
        reading.raw_texts,
        reading.confidences,
        reading.detection_scores,
        strict=True,
    )
    return [
        {
            "box": [float(side) for side in box],
            "plate": plate,
            "raw_text": raw,
            "confidence": float(confidence),
            "detection_score": float(score),
        }
        for box, plate, raw, confidence, score in rows
    ]


def _read(path: Path, settings: Settings) -> Photo:
    from platemill.archive.decode import decode_image
    from platemill.serving.check import Photo

    try:
        return Photo(decode_image(path.read_bytes(), settings.max_image_pixels))
    except OSError as error:
        raise ConfigurationError(f"--photo {path} cannot be read: {error.strerror}") from None
    except ImageRejected as error:
        raise ConfigurationError(f"--photo {path} is no photo to recognise: {error}") from None


def _drawn() -> Photo:
    """A daylight street with one car."""
    from platemill.render.street import draw_street, expose, new_car, place_cars
    from platemill.serving.check import Photo

    stderr.print("drawing a photo; --photo gives one of your own")
    rng = np.random.default_rng(8)
    canvas = draw_street(rng)
    seen = place_cars(canvas, [new_car(_DRAWN, rng)], rng)
    return Photo(expose(canvas, 13.0, rng), [one.box for one in seen], [_DRAWN])
