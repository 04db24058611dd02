r"""Train the STN and the reader jointly on rendered crops.

    python -m platemill.training.reader --out runs/reader --steps 6000

Everything is drawn on the way; nothing has to be downloaded. `--resume` goes on from the last
checkpoint, also with another number of steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from platemill.errors import ConfigurationError
from platemill.render.crop import samples
from platemill.serving.torchscript import multiplies_bf16
from platemill.training.export import READER_FILE, STN_FILE
from platemill.training.loop import Run
from platemill.training.nets import Reader, Stn
from platemill.training.unfold import start_from
from platemill.vision.crops import CROP_HEIGHT, CROP_WIDTH, normalise
from platemill.vision.ctc import BLANK, TIME_STEPS, decode
from platemill.vision.plates import ALPHABET

_CROPS_A_PLATE = 4
_POOL = 4096
_USES = 3
_LONGEST, _USUAL = 9, 8
_LOG_EVERY = 50
_SAVE_EVERY = 100
_LOOKED_AT = 8
_JUDGE_EVERY = 500

Batch = tuple[Tensor, Tensor, Tensor]
Sample = tuple[NDArray[np.uint8], str]


class Crops(IterableDataset[Batch]):
    """Endless batches: crops float32 [B, 3, 24, 94], targets int [B, 9], lengths int [B].

    Drawing is dearer than learning, so every crop is used a few times, each time moved and
    lit a little differently.
    """

    def __init__(self, batch: int, seed: int) -> None:
        self.batch = batch
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        """Draw batch after batch; every worker has its own random stream."""
        cv2.setNumThreads(0)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        pool: list[Sample] = []
        owed = 0.0
        while True:
            full = len(pool) >= _POOL
            owed += self.batch / _USES if full else self.batch
            while owed > 0:
                for sample in samples(rng, _CROPS_A_PLATE):
                    if len(pool) < _POOL:
                        pool.append(sample)
                    else:
                        pool[int(rng.integers(0, _POOL))] = sample
                owed -= _CROPS_A_PLATE
            chosen = rng.permutation(len(pool))[: self.batch]
            yield collate([(vary(pool[i][0], rng), pool[i][1]) for i in chosen])


def vary(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move, tint and grain a crop a little: uint8 BGR in, float32 [3, 24, 94] out."""
    sx, sy = rng.normal(1, 0.015), rng.normal(1, 0.03)
    dx, dy = rng.normal(0, 0.7), rng.normal(0, 0.5)
    lean = rng.normal(0, 0.008)
    matrix = np.array(
        [[sx, 0.0, dx + (1 - sx) * 47], [lean, sy, dy + (1 - sy) * 12 - lean * 47]], np.float64
    )
    size = (CROP_WIDTH, CROP_HEIGHT)
    moved = cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    gain = rng.uniform(0.8, 1.2) * rng.normal(1, 0.03, (3, 1, 1))
    out = normalise(np.asarray(moved, np.uint8)) * gain.astype(np.float32)
    out += np.float32(rng.normal(0, 0.08))
    if rng.random() < 0.3:
        grain = rng.standard_normal(out.shape, dtype=np.float32)
        out += grain * np.float32(rng.uniform(0, 0.06))
    return np.clip(out, -1.0, 1.0)


def collate(chosen: list[tuple[NDArray[np.float32], str]]) -> Batch:
    """Stack crops and their texts, of which some may be empty, into tensors."""
    crops = torch.from_numpy(np.stack([crop for crop, _ in chosen]))
    targets = torch.zeros(len(chosen), _LONGEST, dtype=torch.long)
    for row, (_, text) in enumerate(chosen):
        targets[row, : len(text)] = torch.tensor([ALPHABET.index(c) for c in text])
    return crops, targets, torch.tensor([len(text) for _, text in chosen])


def loss_of(logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """CTC loss of logits [B, 23, 18], for a character; every crop counts alike, also empty ones."""
    steps = functional.log_softmax(logits.float(), dim=1).permute(2, 0, 1)
    seen = torch.full((len(targets),), TIME_STEPS, dtype=torch.long)
    losses = functional.ctc_loss(
        steps, targets, seen, lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    return losses.mean() / _USUAL


def exact_rate(net: nn.Sequential, crops: Tensor, texts: list[str]) -> float:
    """Part of the crops whose whole text is read rightly."""
    net.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(crops), 64):
            readings = decode(net(crops[start : start + 64]).numpy())
            wanted = texts[start : start + 64]
            right += sum(r.raw_text == t for r, t in zip(readings, wanted, strict=True))
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
    repository: Path | None = None,
) -> None:
    """Train until `steps`, writing `last.pt` and `log.csv` into `out`.

    With a `repository` the networks that are exported there are trained on.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = nn.Sequential(Stn(), Reader()).to(memory_format=torch.channels_last)
    if repository:
        examples = (crops for crops, _, _ in islice(Crops(batch, seed), _LOOKED_AT))
        start_from(net, {"0.": repository / STN_FILE, "1.": repository / READER_FILE}, examples)
    run = Run(net, out, rate, steps, slow=("0.",))
    if resume:
        run.resume()
    rng = np.random.default_rng(seed + 1_000_003)
    held = [sample for _ in range(held_out) for sample in samples(rng, 1)]
    held_crops = torch.from_numpy(np.stack([normalise(crop) for crop, _ in held]))
    held_texts = [text for _, text in held]
    loader = DataLoader(
        Crops(batch, seed + run.step),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
    )
    smooth = 0.0
    for crops, targets, lengths in loader:
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16()):
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
    parser.add_argument("--batch", type=int, default=128, help="crops a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and drawing")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument("--held", type=int, default=600, help="held-out crops (%(default)s)")
    parser.add_argument(
        "--start-from", type=Path, help="model repository whose networks are trained on"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    o = parser.parse_args(arguments)
    try:
        train(o.out, o.steps, o.batch, o.rate, o.seed, o.workers, o.held, o.resume, o.start_from)
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
