"""``platemill evaluate``: how well plates are found and read in labelled photos."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from platemill.cli.output import JsonOption, ProfileOption, print_json, print_table, stderr
from platemill.errors import CheckFailed, ConfigurationError, PlatemillError
from platemill.settings import Settings, load_settings

__all__ = ["evaluate"]


def evaluate(
    photos: Annotated[Path, typer.Option(help="Folder of photos with a labels.csv.")],
    profile: ProfileOption = None,
    json: JsonOption = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write an HTML page of every error, for a person.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first photos by name.")] = None,
    min_exact_rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="End with exit code 3 if fewer texts are read exactly."),
    ] = None,
    triton: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="gRPC address of a running Triton server; default: one is started and ended.",
        ),
    ] = None,
    in_flight: Annotated[
        int,
        typer.Option(min=1, help="Photos on their way at once; times are those of one with 1."),
    ] = 1,
) -> None:
    """Measure on labelled photos, the way that a night recognises them: through Triton.

    labels.csv has the columns file,plate,xmin,ymin,xmax,ymax,country,note, a row a plate, boxes
    in pixels. A blank plate counts for detection only; a note that begins with "ignore" takes
    the plate out. docs/evaluation.md says what every figure means.

        platemill evaluate --photos ./labelled --sheet errors.html
    """
    with _scratch() as folder:
        settings = load_settings(home=folder, profile=profile, triton_address=triton)
        found, errors = _measured(settings, photos, sheet, limit, in_flight)
    if json:
        print_json(found)
    else:
        _print(found)
        if errors and sheet is None:
            stderr.print("--sheet errors.html writes a page of every error")
    if sheet is not None:
        stderr.print(f"{errors:,} errors in {sheet}", highlight=False, soft_wrap=True)
    if min_exact_rate is not None:
        _check(found["exact_rate"], min_exact_rate)


def _measured(
    settings: Settings, folder: Path, sheet: Path | None, limit: int | None, in_flight: int
) -> tuple[dict[str, Any], int]:
    """What is printed, and how many errors there are."""
    import cv2

    from platemill.evaluation.photos import evaluate, find_photos
    from platemill.evaluation.sheet import write_sheet

    # As in the night's workers: the photos in flight are the threads.
    cv2.setNumThreads(1)
    labelled = find_photos(settings, folder, limit)
    bar = Progress(console=stderr, transient=True, disable=not stderr.is_terminal)
    with _server(settings) as address, bar:
        task = bar.add_task("recognising", total=len(labelled.labels))
        found = evaluate(
            settings,
            labelled,
            address,
            in_flight=in_flight,
            progress=lambda done: bar.update(task, completed=done),
        )
    if sheet is not None:
        write_sheet(sheet, labelled, found, settings.max_image_pixels)
    figures = asdict(found.measures) | {
        "ms_per_photo": found.ms_per_photo,
        "pipeline_version": labelled.pipeline_version,
    }
    return figures, sum(found.measures.errors.values())


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the server and its log, which stays if there is an error that it may explain."""
    folder = Path(tempfile.mkdtemp(prefix="platemill-evaluate-"))
    keep = False
    try:
        yield folder
    except PlatemillError:
        keep = any(folder.iterdir())
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _server(settings: Settings) -> Iterator[str]:
    """The gRPC address of the server that the settings name, else of one for this while."""
    from platemill.serving.embedded import EmbeddedTriton
    from platemill.serving.repository import repository_of

    if settings.triton_addresses:
        yield settings.triton_addresses[0]
        return
    stderr.print("starting Triton; this takes some seconds")
    models = repository_of(settings)
    with EmbeddedTriton.of(settings, models, settings.home / "triton") as server:
        yield server.grpc


def _print(found: Mapping[str, Any]) -> None:
    published, sure = found["published"], found["published_sure"]
    rows = [
        ("photos", f"{found['photos']:,}"),
        ("plates", f"{found['plates']:,}, of which {found['texts']:,} have a text to read"),
        ("texts read exactly", f"{found['exact']:,}: {_percent(found['exact_rate'])}"),
        (
            "character error rate",
            f"{_percent(found['char_error_rate'])}, "
            f"of the raw texts {_percent(found['raw_char_error_rate'])}",
        ),
        ("recall", _percent(found["recall"])),
        ("precision", _percent(found["precision"])),
        (
            "false boxes",
            f"{found['false_positives']:,}: {_number(found['false_positives_per_photo'])} a photo",
        ),
        (
            "false texts",
            f"{found['false_texts']:,} of {published:,} published: "
            f"{_percent(found['false_text_rate'])} of the plates",
        ),
        (
            "sure (≥ 0.9) but false",
            f"{found['false_texts_sure']:,} of {sure:,}: "
            f"{_percent(found['wrong_sure_rate'])}, "
            f"{_percent(found['wrong_sure_of_plates'])} of the plates",
        ),
        ("calibration error", f"{_number(found['ece'])}, Brier score {_number(found['brier'])}"),
        ("errors", ", ".join(f"{count:,} {kind}" for kind, count in found["errors"].items())),
        ("ms a photo", ", ".join(f"{k} {v:.1f}" for k, v in found["ms_per_photo"].items())),
        ("pipeline", found["pipeline_version"]),
    ]
    print_table(("evaluation", ""), rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _check(rate: float | None, least: float) -> None:
    if rate is None:
        raise ConfigurationError("--min-exact-rate: no labelled text is of the format that is read")
    if rate < least:
        raise CheckFailed(f"exact rate {rate:.4f} is less than --min-exact-rate {least}")
