r"""Train the detector on rendered scenes, and on labelled photos if there are any.

    python -m platemill.training.detector --out runs/detector --boxes photos --steps 4000

Without `--boxes` everything is drawn on the way. `--resume` goes on from the last
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
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from platemill.render.scene import draw_scene
from platemill.training.loop import Run, has_bf16
from platemill.training.nets import DETECTOR_STRIDE, Detector, candidates
from platemill.training.photos import Photos

WIDTH, HEIGHT = 416, 320
_SPARE = 48
_POOL = 240
_USES = 5
_MOST_BOXES = 12

Batch = tuple[Tensor, Tensor]


class Scenes(IterableDataset[Batch]):
    """Endless batches: images uint8 [B, 3, H, W] RGB and boxes float32 [B, 12, 4].

    Unused rows of the boxes are zero. Every scene is used a few times, moved a little.
    """

    def __init__(self, batch: int, seed: int, boxes: Path | None, photo_share: float) -> None:
        self.batch = batch
        self.seed = seed
        self.boxes = boxes
        self.photo_share = photo_share

    def __iter__(self) -> Iterator[Batch]:
        """Draw batch after batch; every worker has its own random stream."""
        cv2.setNumThreads(0)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        photos = Photos(self.boxes) if self.boxes else None
        pool: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
        fresh = self.batch
        while True:
            for _ in range(fresh):
                pool.append(self._draw(rng, photos))
            if len(pool) > _POOL:
                for index in sorted(rng.permutation(_POOL)[: len(pool) - _POOL], reverse=True):
                    pool.pop(int(index))
            fresh = max(1, self.batch // _USES) if len(pool) >= _POOL else self.batch
            chosen = rng.permutation(len(pool))[: self.batch]
            yield collate([_window(rng, *pool[i]) for i in chosen])

    def _draw(
        self, rng: np.random.Generator, photos: Photos | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        width, height = WIDTH + _SPARE, HEIGHT + _SPARE
        if photos is not None and rng.random() < self.photo_share:
            scene = draw_scene(rng, width, height, *photos.draw(rng, width, height))
        else:
            scene = draw_scene(rng, width, height)
        return scene.image, scene.boxes


def _window(
    rng: np.random.Generator, image: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Cut a window of the training size; boxes that it cuts much are dropped."""
    left, top = (int(v) for v in rng.integers(0, _SPARE + 1, 2))
    window = image[top : top + HEIGHT, left : left + WIDTH]
    moved = boxes - np.array([left, top, left, top], np.float32)
    inside = np.clip(moved, 0, np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32))
    area = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    whole = np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    return window, inside[area > 0.5 * whole]


def collate(chosen: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> Batch:
    """Stack BGR images and their boxes into RGB tensors."""
    images = np.stack([image[:, :, ::-1].transpose(2, 0, 1) for image, _ in chosen])
    boxes = torch.zeros(len(chosen), _MOST_BOXES, 4)
    for row, (_, found) in enumerate(chosen):
        kept = torch.from_numpy(found[:_MOST_BOXES])
        boxes[row, : len(kept)] = kept
    return torch.from_numpy(images), boxes


def assign(boxes: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decide which cells answer for which boxes.

    Args:
        boxes: float32 [B, K, 4] in pixels; rows of zeros are unused.
        rows: of cells.
        columns: of cells.

    Returns:
        chosen [B, cells], the box's index or -1; ignored [B, cells], true in the rest of a
        box; targets [B, cells, 4], the box of every cell.
    """
    stride = float(DETECTOR_STRIDE)
    y = ((torch.arange(rows) + 0.5) * stride).view(rows, 1).expand(rows, columns).flatten()
    x = ((torch.arange(columns) + 0.5) * stride).view(1, columns).expand(rows, columns).flatten()
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    dx = (x.view(1, 1, -1) - centre[..., :1]).abs()
    dy = (y.view(1, 1, -1) - centre[..., 1:]).abs()
    used = (half[..., 0] > 0).unsqueeze(-1)
    reach = torch.maximum(half * 0.3, torch.tensor(stride * 0.55))
    core = (dx <= reach[..., :1]) & (dy <= reach[..., 1:]) & used
    inside = (dx <= half[..., :1]) & (dy <= half[..., 1:]) & used
    distance = torch.where(core, dx / half[..., :1].clamp(min=1) + dy, torch.tensor(torch.inf))
    nearest, index = distance.min(dim=1)
    chosen = torch.where(torch.isfinite(nearest), index, torch.tensor(-1))
    ignored = inside.any(dim=1) & (chosen < 0)
    targets = boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
    return chosen, ignored, targets


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of paired boxes [N, 4]."""
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    union = (areas - shared).clamp(min=1e-6)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    around = hull.prod(dim=1).clamp(min=1e-6)
    iou = shared / union
    return iou, iou - (around - union) / around


def loss_of(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Score and box loss of raw maps [B, 5, h, w].

    The score learns the overlap its box reaches (Li et al., "Generalized Focal Loss",
    NeurIPS 2020); boxes learn by generalised IoU.
    """
    maps = maps.float()
    chosen, ignored, targets = assign(boxes, maps.shape[2], maps.shape[3])
    predicted = candidates(maps)
    positive = chosen >= 0
    count = positive.sum().clamp(min=1)
    iou, generalised = overlap(predicted[..., :4][positive], targets[positive])
    box_loss = (1 - generalised).sum() / count
    wanted = torch.zeros_like(predicted[..., 4])
    wanted[positive] = iou.detach().clamp(0.05, 1)
    logits = maps[:, 0].flatten(1)
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    weight = (logits.sigmoid().detach() - wanted).abs().pow(2)
    weight = weight * (~ignored)
    score_loss = (cross * weight).sum() / count
    return score_loss, box_loss


def train(
    out: Path,
    boxes: Path | None,
    photo_share: float,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    workers: int,
    resume: bool,
) -> None:
    """Train until `steps`, writing `last.pt` and `log.csv` into `out`."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = Detector().to(memory_format=torch.channels_last)
    run = Run(net, out, rate, steps)
    if resume:
        run.resume()
    scenes = Scenes(batch, seed + run.step, boxes, photo_share)
    loader = DataLoader(
        scenes, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None
    )
    score = place = 0.0
    for images, wanted in loader:
        pixels = images.contiguous(memory_format=torch.channels_last).float() / 255.0
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            maps = net(pixels)
        score_loss, box_loss = loss_of(maps, wanted)
        run.update(score_loss + 2.0 * box_loss)
        keep = 0.97 if run.step > 20 else 0.5
        score = keep * score + (1 - keep) * float(score_loss.detach())
        place = keep * place + (1 - keep) * float(box_loss.detach())
        if run.step % 50 == 0:
            run.log(score_loss=round(score, 4), box_loss=round(place, 4))
        if run.step % 100 == 0 or run.step >= steps:
            run.save()
        if run.step >= steps:
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
        "--photo-share", type=float, default=0.5, help="scenes drawn on photos (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=12, help="scenes a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and drawing")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    o = parser.parse_args(arguments)
    train(o.out, o.boxes, o.photo_share, o.steps, o.batch, o.rate, o.seed, o.workers, o.resume)


if __name__ == "__main__":
    main()
