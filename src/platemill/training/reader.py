r"""Train the STN and the reader jointly on rendered crops.

    python -m platemill.training.reader --out runs/reader --steps 6000

Everything is drawn on the way; nothing has to be downloaded. `--resume` goes on from the last
checkpoint, also with another number of steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from platemill.render.crop import crop_of, random_plate
from platemill.training.loop import Run, has_bf16
from platemill.training.nets import Reader, Stn
from platemill.vision.crops import normalise
from platemill.vision.ctc import BLANK, TIME_STEPS, decode
from platemill.vision.plates import ALPHABET

_CROPS_A_PLATE = 4
_POOL = 768
_USES = 2
_LONGEST = 9
_LOG_EVERY = 50
_SAVE_EVERY = 100
_JUDGE_EVERY = 250

Batch = tuple[Tensor, Tensor, Tensor]


class Crops(IterableDataset[Batch]):
    """Endless batches: crops float32 [B, 3, 24, 94], targets int [B, 9], lengths int [B]."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch = batch
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        """Draw batch after batch; every worker has its own random stream."""
        cv2.setNumThreads(0)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        pool: list[tuple[NDArray[np.float32], str]] = []
        while True:
            fresh = self.batch // _USES if len(pool) >= _POOL else self.batch
            while fresh > 0:
                pool.extend(samples(rng))
                fresh -= _CROPS_A_PLATE
            while len(pool) > _POOL:
                index = int(rng.integers(0, _POOL - self.batch))
                pool[index] = pool[-1]
                pool.pop()
            chosen = rng.permutation(len(pool))[: self.batch]
            yield collate([(_relight(pool[i][0], rng), pool[i][1]) for i in chosen])


def _relight(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change brightness and contrast a little, so that a crop used again is another."""
    gain, lift = rng.uniform(0.85, 1.15), rng.normal(0, 0.08)
    return np.clip(crop * np.float32(gain) + np.float32(lift), -1.0, 1.0)


def samples(rng: np.random.Generator) -> list[tuple[NDArray[np.float32], str]]:
    """Several crops of one new plate, with its text."""
    plate = random_plate(rng)
    return [(normalise(crop_of(plate, rng)), plate.text) for _ in range(_CROPS_A_PLATE)]


def collate(chosen: list[tuple[NDArray[np.float32], str]]) -> Batch:
    """Stack crops and their texts into tensors."""
    crops = torch.from_numpy(np.stack([crop for crop, _ in chosen]))
    targets = torch.zeros(len(chosen), _LONGEST, dtype=torch.long)
    for row, (_, text) in enumerate(chosen):
        targets[row, : len(text)] = torch.tensor([ALPHABET.index(c) for c in text])
    return crops, targets, torch.tensor([len(text) for _, text in chosen])


def loss_of(logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """CTC loss of logits [B, 23, 18], a mean over characters."""
    steps = functional.log_softmax(logits.float(), dim=1).permute(2, 0, 1)
    seen = torch.full((len(targets),), TIME_STEPS, dtype=torch.long)
    return functional.ctc_loss(steps, targets, seen, lengths, blank=BLANK, zero_infinity=True)


def exact_rate(net: nn.Sequential, crops: Tensor, texts: list[str]) -> float:
    """Part of the crops whose whole text is read rightly."""
    net.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(crops), 64):
            readings = decode(net(crops[start : start + 64]).numpy())
            wanted = texts[start : start + 64]
            right += sum(r.plate == t for r, t in zip(readings, wanted, strict=True))
    net.train()
    return right / len(crops)


def train(
    out: Path,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    workers: int,
    held_out: int,
    resume: bool,
) -> None:
    """Train until `steps`, writing `last.pt` and `log.csv` into `out`."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = nn.Sequential(Stn(), Reader()).to(memory_format=torch.channels_last)
    run = Run(net, out, rate, steps, slow=("0.",))
    if resume:
        run.resume()
    rng = np.random.default_rng(seed + 1_000_003)
    held = [sample for _ in range(-(-held_out // _CROPS_A_PLATE)) for sample in samples(rng)]
    held_crops = torch.from_numpy(np.stack([crop for crop, _ in held]))
    held_texts = [text for _, text in held]
    loader = DataLoader(
        Crops(batch, seed + run.step),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
    )
    smooth = 0.0
    for crops, targets, lengths in loader:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            logits = net(crops.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits, targets, lengths)
        run.update(loss)
        value = float(loss.detach())
        smooth = value if smooth == 0 else 0.98 * smooth + 0.02 * value
        done = run.step >= steps
        if run.step % _JUDGE_EVERY == 0 or done:
            judged = nn.Sequential(Stn(), Reader())
            judged.load_state_dict(run.average)
            run.log(loss=round(smooth, 5), exact=exact_rate(judged, held_crops, held_texts))
        elif run.step % _LOG_EVERY == 0:
            run.log(loss=round(smooth, 5), exact=float("nan"))
        if run.step % _SAVE_EVERY == 0 or done:
            run.save()
        if done:
            break


def main(arguments: list[str] | None = None) -> None:
    """Command line of the reader's training."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.reader",
        description="Train the STN and the reader jointly on crops that are rendered on the "
        "way. Writes last.pt (checkpoint) and log.csv (loss, exact rate on held-out crops).",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=96, help="crops a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and drawing")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument("--held", type=int, default=600, help="held-out crops (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    o = parser.parse_args(arguments)
    train(o.out, o.steps, o.batch, o.rate, o.seed, o.workers, o.held, o.resume)


if __name__ == "__main__":
    main()
