r"""Train the detector on rendered scenes, and on labelled photos if there are any.

    python -m platemill.training.detector --out runs/detector --boxes photos --steps 4000

Without `--boxes` everything is drawn on the way. `--resume` goes on from the last
checkpoint, also with another number of steps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from platemill.errors import ConfigurationError
from platemill.serving.torchscript import multiplies_bf16
from platemill.training.export import DETECTOR_FILE
from platemill.training.loop import Run
from platemill.training.nets import Detector
from platemill.training.photos import read_photos, split
from platemill.training.scenes import Scenes
from platemill.training.targets import losses
from platemill.training.unfold import start_from

_LOG_EVERY, _SAVE_EVERY = 50, 200
_LOOKED_AT = 8


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and for how long; see the command line's help."""

    out: Path
    boxes: Path | None
    photo_share: float
    steps: int
    batch: int
    rate: float
    seed: int
    workers: int
    start_from: Path | None
    resume: bool


def train(plan: Plan) -> None:
    """Train until `plan.steps`, writing `last.pt` and `log.csv` into `plan.out`."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    net = Detector().to(memory_format=torch.channels_last)
    photos = split(read_photos(plan.boxes))[0] if plan.boxes else None
    if plan.start_from:
        drawn = islice(Scenes(plan.batch, plan.seed, photos, plan.photo_share), _LOOKED_AT)
        examples = (images.float() / 255.0 for images, _ in drawn)
        start_from(net, {"": plan.start_from / DETECTOR_FILE}, examples)
    run = Run(net, plan.out, plan.rate, plan.steps)
    if plan.resume:
        run.resume()
    scenes = Scenes(plan.batch, plan.seed + run.step, photos, plan.photo_share)
    loader = DataLoader(
        scenes,
        batch_size=None,
        num_workers=plan.workers,
        prefetch_factor=8 if plan.workers else None,
    )
    shown: dict[str, float] = {}
    for images, plates in loader:
        pixels = images.contiguous(memory_format=torch.channels_last).float() / 255.0
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16()):
            maps = net(pixels)
        found = losses(maps, plates)
        run.update(found.total())
        keep = 0.98 if run.step > 20 else 0.5
        for name, value in vars(found).items():
            latest = float(value.detach())
            shown[name] = keep * shown.get(name, latest) + (1 - keep) * latest
        if run.step % _LOG_EVERY == 0:
            run.log(**{f"{name}_loss": round(value, 4) for name, value in shown.items()})
        if run.step % _SAVE_EVERY == 0 or run.step >= plan.steps:
            run.save()
        if run.step >= plan.steps:
            break


def main(arguments: list[str] | None = None) -> None:
    """Command line of the detector's training."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.detector",
        description="Train the detector on scenes that are rendered on the way, and on "
        "labelled photos if a folder of them is named. Writes last.pt and log.csv.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--boxes", type=Path, help="folder of photos with labels.csv")
    parser.add_argument(
        "--photo-share", type=float, default=0.7, help="scenes drawn on photos (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=12000, help="optimiser steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=10, help="scenes a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and drawing")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument(
        "--start-from", type=Path, help="model repository whose detector is trained on"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    plan = Plan(**vars(parser.parse_args(arguments)))
    try:
        train(plan)
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
