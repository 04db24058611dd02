"""A picture of a training from its log: losses, shares and the learning rate over the steps.

    python -m platemill.training.curves --out runs/reader

reads ``OUT/log.csv`` and writes ``OUT/curves.png``.
"""

from __future__ import annotations

import argparse
import csv
import math
from itertools import cycle
from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError

__all__ = ["PICTURE", "draw_curves", "read_log"]

PICTURE = "curves.png"

_KEYS = ("step", "seconds")
_RATE = "rate"
_COLOURS = ("#2563eb", "#d97706", "#15803d", "#b91c1c", "#7c3aed", "#0e7490")
_INK, _SOFT, _GRID = "#1b1f24", "#5b6470", "#e5e7eb"

_FEW = 30

Curve = tuple[list[float], list[float]]


def read_log(path: Path) -> dict[str, Curve]:
    """Read a training's log.

    Where a training was resumed from an earlier step, what was logged beyond that step before is
    dropped; so is what is not finite.

    Returns:
        Steps and values, by the column's name.

    Raises:
        ConfigurationError: there is no log, or nothing in it.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise ConfigurationError(f"no {path}: a training writes it as it goes") from None
    kept: list[dict[str, str]] = []
    for row in rows:
        while kept and float(kept[-1]["step"]) >= float(row["step"]):
            kept.pop()
        kept.append(row)
    if not kept:
        raise ConfigurationError(f"{path} has no rows yet")
    curves: dict[str, Curve] = {}
    for name in kept[0]:
        pairs = [(float(row["step"]), float(row[name] or math.nan)) for row in kept]
        known = [pair for pair in pairs if math.isfinite(pair[1])]
        if name not in _KEYS and known:
            curves[name] = [step for step, _ in known], [value for _, value in known]
    return curves


def draw_curves(out: Path) -> Path:
    """Draw ``OUT/log.csv`` into ``OUT/curves.png``: a panel for each sort of column there is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = read_log(out / "log.csv")
    losses = {name: curve for name, curve in curves.items() if "loss" in name}
    rate = {name: curve for name, curve in curves.items() if name == _RATE}
    shares = {n: curve for n, curve in curves.items() if n not in losses and n not in rate}
    panels = [
        (title, shown, kind)
        for title, shown, kind in (
            ("loss", losses, "log"),
            ("held out, part that is right", shares, "share"),
            ("learning rate", rate, "rate"),
        )
        if shown
    ]
    heights = [1.0 if kind == "rate" else 2.2 for _, _, kind in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        sharex=True,
        squeeze=False,
        figsize=(8.5, 1.0 + 1.25 * sum(heights)),
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    for axis, (title, shown, kind) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, title, shown, kind)
    axes[-1, 0].set_xlabel("step", color=_SOFT)
    last = max(steps[-1] for steps, _ in curves.values())
    figure.suptitle(f"{out.name}, {last:,.0f} steps", x=0.01, ha="left", color=_INK, weight="bold")
    path = out / PICTURE
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _panel(axis: Any, title: str, shown: dict[str, Curve], kind: str) -> None:
    from matplotlib.ticker import LogLocator

    for (name, (steps, values)), colour in zip(shown.items(), cycle(_COLOURS), strict=False):
        sparse = len(steps) <= _FEW
        label = f"{name.replace('_', ' ')}: {values[-1]:.3g}"
        axis.plot(
            steps, values, color=colour, linewidth=1.6, label=label,
            marker="o" if sparse else None, markersize=3.5,
        )  # fmt: skip
    if kind == "log" and min(min(values) for _, values in shown.values()) > 0:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    elif kind == "share":
        axis.set_ylim(0, 1.02)
    else:
        axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_title(title, loc="left", fontsize=11, color=_INK)
    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_GRID)
    axis.tick_params(which="both", colors=_SOFT, labelsize=9, length=0)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(frameon=False, fontsize=9, labelcolor=_INK, loc="best")


def main(arguments: list[str] | None = None) -> None:
    """Command line of the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.curves",
        description="Draw a training's log.csv as curves.png.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    try:
        print(draw_curves(parser.parse_args(arguments).out))
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
