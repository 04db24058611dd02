"""What the detector should say at each cell, and how wrong it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from platemill.training.nets import DETECTOR_STRIDE, candidates

_CORE = 0.3
_LEAST, _MOST = 0.55, 2.0
_LOOSE_WEIGHT = 0.5
_SMOOTH = 0.06


@dataclass(frozen=True)
class Losses:
    """Of the score, the box, the corners and the number of lines; scalars."""

    score: Tensor
    box: Tensor
    corners: Tensor
    lines: Tensor

    def total(self) -> Tensor:
        """What is minimised."""
        return self.score + 2.0 * self.box + self.corners + 0.2 * self.lines


def assign(plates: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Decide which cells answer for which plates.

    Args:
        plates: float32 [B, K, 16], see `platemill.training.scenes.COLUMNS`.
        rows: of cells.
        columns: of cells.

    Returns:
        chosen [B, cells], the plate's index or -1; ignored [B, cells], true in a ring around
        the cells that answer for a plate and in plates that are ignored.
    """
    stride = float(DETECTOR_STRIDE)
    y = ((torch.arange(rows) + 0.5) * stride).view(rows, 1).expand(rows, columns).flatten()
    x = ((torch.arange(columns) + 0.5) * stride).view(1, columns).expand(rows, columns).flatten()
    boxes = plates[..., :4]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    dx = (x.view(1, 1, -1) - centre[..., :1]).abs()
    dy = (y.view(1, 1, -1) - centre[..., 1:]).abs()
    used = (plates[..., 12] > 0).unsqueeze(-1)
    left_out = (plates[..., 15] > 0).unsqueeze(-1) & used
    reach = (half * _CORE).clamp(_LEAST * stride, _MOST * stride)
    core = (dx <= reach[..., :1]) & (dy <= reach[..., 1:]) & used & ~left_out
    inside = (dx <= half[..., :1]) & (dy <= half[..., 1:]) & used
    near = (dx <= reach[..., :1] + stride) & (dy <= reach[..., 1:] + stride)
    distance = torch.where(core, dx / half[..., :1].clamp(min=1) + dy, torch.tensor(torch.inf))
    nearest, index = distance.min(dim=1)
    chosen = torch.where(torch.isfinite(nearest), index, torch.tensor(-1))
    ignored = ((inside & (near | left_out)).any(dim=1)) & (chosen < 0)
    return chosen, ignored


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


def losses(maps: Tensor, plates: Tensor) -> Losses:
    """How wrong raw maps [B, 14, h, w] are.

    The score learns the overlap its box reaches (Li et al., "Generalized Focal Loss",
    NeurIPS 2020), boxes learn by generalised IoU, corners by their distance in units of the
    box's shorter side. Every plate counts the same, whatever its size.

    Args:
        maps: as the detector returns them.
        plates: float32 [B, K, 16], see `platemill.training.scenes.COLUMNS`.
    """
    maps = maps.float()
    chosen, ignored = assign(plates, maps.shape[2], maps.shape[3])
    predicted = candidates(maps)
    image, cell = torch.nonzero(chosen >= 0, as_tuple=True)
    index = chosen[image, cell]
    target = plates[image, index]
    found = predicted[image, cell]
    size = plates.shape[1]
    slot = image * size + index
    weight = 1 / torch.bincount(slot, minlength=plates.shape[0] * size)[slot].float()
    known = target[:, 13] > 0
    count = weight.sum().clamp(min=1)

    iou, generalised = overlap(found[:, :4], target[:, :4])
    trust = torch.where(known, 1.0, _LOOSE_WEIGHT) * weight
    box_loss = ((1 - generalised) * trust).sum() / count

    side = (target[:, 2:4] - target[:, :2]).min(dim=1).values.clamp(min=5).unsqueeze(1)
    away = functional.smooth_l1_loss(
        found[:, 5:13] / side, target[:, 4:12] / side, beta=_SMOOTH, reduction="none"
    ).mean(dim=1)
    sure = known.float() * weight
    some = sure.sum().clamp(min=1)
    corner_loss = (away * sure).sum() / some
    line_logits = maps[:, 13].flatten(1)[image, cell]
    lines = functional.binary_cross_entropy_with_logits(
        line_logits, target[:, 14], reduction="none"
    )
    line_loss = (lines * sure).sum() / some

    wanted = torch.zeros_like(predicted[..., 4])
    wanted[image, cell] = iou.detach().clamp(0, 1)
    logits = maps[:, 0].flatten(1)
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    score = logits.sigmoid().detach()
    focus = (score - wanted).abs().pow(2) * (~ignored)
    focus[image, cell] = focus[image, cell] * weight.pow(0.5)
    score_loss = (cross * focus).sum() / weight.pow(0.5).sum().clamp(min=1)
    return Losses(score_loss, box_loss, corner_loss, line_loss)
