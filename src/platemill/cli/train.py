"""``platemill train detector|reader|export``: from nothing to networks that Triton serves."""

from __future__ import annotations

import json as json_module
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated

import typer

from platemill.cli.output import JsonOption, print_json, stderr
from platemill.errors import ConfigurationError, PlatemillError, RetryableError
from platemill.processes import end_with_parent
from platemill.serving.environment import require
from platemill.settings import load_settings

__all__ = ["train_app"]

train_app = typer.Typer(
    help="Train the networks, in Triton's environment, and export them into a model repository.",
    no_args_is_help=True,
)

_CHECKPOINT = "last.pt"
_GRACE_SECONDS = 10.0
# Options that are not named here are the training's own.
_OTHERS = {"allow_extra_args": True, "ignore_unknown_options": True}

OutOption = Annotated[
    Path, typer.Option(help="Folder for last.pt, log.csv, curves.png and evaluation.json.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Samples a step.")]
SeedOption = Annotated[int | None, typer.Option(help="Of weights and drawing.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Processes that draw.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from OUT/last.pt.")]


@train_app.command(context_settings=_OTHERS)
def detector(
    context: typer.Context,
    out: OutOption,
    steps: StepsOption = None,
    batch: BatchOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    boxes: Annotated[
        Path | None, typer.Option(help="Photos with a labels.csv to train on, too.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Photos with a labels.csv to measure on at the end.")
    ] = None,
    scenes: Annotated[
        int, typer.Option(min=1, help="Rendered scenes to measure on at the end.")
    ] = 200,
    json: JsonOption = False,
) -> None:
    """Train the network that finds plates, on scenes that are drawn on the way.

    Progress goes to stderr. At the end the checkpoint is measured on scenes and photos that were
    held out, and the curves are drawn. Ctrl-C stops it; --resume goes on. Options that are not
    listed go to the training: `python -m platemill.training.detector --help`.

        platemill train detector --out runs/detector --boxes ./labelled
    """
    given = {"steps": steps, "batch": batch, "seed": seed, "workers": workers, "boxes": boxes}
    measured = {"scenes": scenes, "boxes": boxes, "photos": photos}
    _train("detector", out, resume, given, measured, context.args, json)


@train_app.command(context_settings=_OTHERS)
def reader(
    context: typer.Context,
    out: OutOption,
    steps: StepsOption = None,
    batch: BatchOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    crops: Annotated[
        int, typer.Option(min=1, help="Rendered crops of each kind to measure on at the end.")
    ] = 200,
    json: JsonOption = False,
) -> None:
    """Train the networks that straighten and read plates, on crops that are drawn on the way.

    Progress goes to stderr. At the end the checkpoint is measured on crops that were held out,
    kind by kind, and the curves are drawn. Ctrl-C stops it; --resume goes on. Options that are
    not listed go to the training: `python -m platemill.training.reader --help`.

        platemill train reader --out runs/reader
    """
    given = {"steps": steps, "batch": batch, "seed": seed, "workers": workers}
    _train("reader", out, resume, given, {"crops": crops}, context.args, json)


@train_app.command()
def export(
    detector: Annotated[
        Path | None, typer.Option(help="Checkpoint of `train detector`, runs/detector/last.pt say.")
    ] = None,
    reader: Annotated[
        Path | None, typer.Option(help="Checkpoint of `train reader`, runs/reader/last.pt say.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="Triton's model repository; default: the project's.")
    ] = None,
) -> None:
    """Write trained networks into a model repository, each checked against its checkpoint.

    What is not named stays as it is. A new model gives a new pipeline version: the next night
    recognises with it what it sees, and `platemill evaluate` measures it.

        platemill train export --detector runs/detector/last.pt --reader runs/reader/last.pt
    """
    if detector is None and reader is None:
        raise ConfigurationError("name a checkpoint: --detector FILE, --reader FILE or both")
    for checkpoint in (detector, reader):
        if checkpoint is not None and not checkpoint.is_file():
            raise ConfigurationError(f"no checkpoint at {checkpoint}")
    target = repository or load_settings(home=Path()).models
    given = {"detector": detector, "reader": reader, "repository": target}
    _run(_python(), ["platemill.training.export", *_options(given)], sys.stdout)


def _train(
    what: str,
    out: Path,
    resume: bool,
    given: Mapping[str, object],
    measured: Mapping[str, object],
    others: list[str],
    json: bool,
) -> None:
    """Train, draw the curves, measure."""
    checkpoint = out / _CHECKPOINT
    again = f"platemill train {what} --out {shlex.quote(str(out))} --resume"
    if checkpoint.exists() and not resume:
        raise ConfigurationError(
            f"{out} holds a training already: go on with it by --resume, or name another folder"
        )
    python = _python()
    place = {"out": out}
    options = [*_options({**place, **given}), *(["--resume"] if resume else []), *others]
    try:
        _run(python, [f"platemill.training.{what}", *options], sys.stderr)
    except KeyboardInterrupt:
        kept = f"; go on with `{again}`" if checkpoint.exists() else " before its first checkpoint"
        raise RetryableError(f"the training was stopped{kept}") from None
    if (out / "log.csv").exists():
        _run(python, ["platemill.training.curves", *_options(place)], sys.stderr)
    said = sys.stderr if json else sys.stdout
    _run(python, ["platemill.training.judge", what, *_options({**place, **measured})], said)
    if json:
        evaluation = json_module.loads((out / "evaluation.json").read_text())
        print_json({"checkpoint": str(checkpoint), "evaluation": evaluation})
    else:
        stderr.print(f"checkpoint, curves and evaluation are in {out}", soft_wrap=True)


def _python() -> Path:
    """The interpreter of Triton's environment, which has torch; ConfigurationError without it."""
    return require(load_settings(home=Path()).triton_interpreter).python


def _options(given: Mapping[str, object]) -> list[str]:
    return [
        word
        for name, value in given.items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]


def _run(python: Path, arguments: list[str], output: IO[str]) -> None:
    """Run a module in Triton's environment, its output going to ours; it ends when we do.

    Raises:
        RetryableError: the process was killed.
        PlatemillError: it failed; it has said why.
        KeyboardInterrupt: Ctrl-C, after the process has ended.
    """
    here = os.getpid()
    output.flush()
    process = subprocess.Popen(
        # -P: a folder named triton in the working directory would hide the package.
        [str(python), "-P", "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output.fileno(),
        env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
        # A group of its own: Ctrl-C reaches this process only, which then ends the group.
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(signal.SIGKILL, here),
    )
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code == 2:
        raise typer.Exit(2)  # wrong usage, and the module has said of what
    if code < 0:
        raise RetryableError(f"{arguments[0]} was killed by signal {-code}")
    if code > 0:
        raise PlatemillError(f"{arguments[0]} failed; what it said stands above")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, whatever it is doing."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
