"""What both trainings share: schedule, moving average, checkpoints, the loss log."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

WARM_UP = 0.02
_AVERAGE_DECAY = 0.998


def learning_rate(progress: float, peak: float) -> float:
    """Rate at `progress` 0 to 1: a short rise to `peak`, then half a cosine to a hundredth."""
    if progress < WARM_UP:
        return peak * (0.05 + 0.95 * progress / WARM_UP)
    fall = min(1.0, (progress - WARM_UP) / (1 - WARM_UP))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class Run:
    """One training's state: network, optimiser, moving average of the weights, and log.

    Args:
        net: the network that is trained.
        out: folder for `last.pt`, `log.csv`; made if absent.
        peak: highest learning rate.
        steps: planned number of steps.
        slow: names of parameters that start so learn at a third of the rate.
    """

    def __init__(
        self, net: nn.Module, out: Path, peak: float, steps: int, slow: tuple[str, ...] = ()
    ) -> None:
        self.net = net
        self.out = out
        self.peak = peak
        self.steps = steps
        self.step = 0
        groups: list[dict[str, Any]] = []
        for rate, wanted in ((1.0, False), (0.3, True)):
            named = [p for n, p in net.named_parameters() if n.startswith(slow) == wanted]
            decayed = [p for p in named if p.ndim > 1]
            plain = [p for p in named if p.ndim <= 1]
            groups.append({"params": decayed, "weight_decay": 0.01, "rate": rate})
            groups.append({"params": plain, "weight_decay": 0.0, "rate": rate})
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=peak)
        self.average = {k: v.clone().float() for k, v in net.state_dict().items()}
        self.began = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)

    def update(self, loss: torch.Tensor) -> bool:
        """Take one optimiser step; returns False, changing nothing, if the loss is not finite."""
        self.step += 1
        rate = learning_rate(self.step / self.steps, self.peak)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        self.optimiser.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            return False
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        decay = min(_AVERAGE_DECAY, self.step / (self.step + 50))
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                kept = self.average[name]
                kept.copy_(value) if not value.is_floating_point() else kept.lerp_(value, 1 - decay)
        return True

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        unfinished = self.out / "last.tmp"
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
            },
            unfinished,
        )
        unfinished.replace(self.out / "last.pt")

    def resume(self) -> None:
        """Take up `last.pt` if there is one; the planned steps may differ from before."""
        path = self.out / "last.pt"
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.net.load_state_dict(state["net"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average = state["average"]
            self.step = int(state["step"])

    def log(self, **values: float) -> None:
        """Add a line to `log.csv` and print it."""
        path = self.out / "log.csv"
        seconds, rate = round(time.monotonic() - self.began), self.optimiser.param_groups[0]["lr"]
        row = {"step": self.step, "seconds": seconds, "rate": float(f"{rate:.3g}"), **values}
        names = list(row)
        if path.exists():
            # A log that is gone on with keeps its columns.
            with path.open(newline="") as file:
                names = next(csv.reader(file), names)
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        print("  ".join(f"{name} {value:g}" for name, value in row.items()), flush=True)
