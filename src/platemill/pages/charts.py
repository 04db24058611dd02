"""Small charts as inline SVG. What they show is said in words too, and colours are the page's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from markupsafe import Markup, escape

__all__ = ["Dated", "Valued", "bars_chart", "drawing", "line_chart"]

_PAD = 2.0


class Valued(Protocol):
    """Something that a bar is as tall as."""

    @property
    def value(self) -> float:
        """From nought up."""


class Dated(Protocol):
    """A period and a value of it; None: a gap."""

    @property
    def period(self) -> object:
        """Shown as it is worded."""

    @property
    def value(self) -> float | None:
        """What the line goes through."""


_Bar = TypeVar("_Bar", bound=Valued)


def bars_chart(
    bars: Sequence[_Bar],
    label: str,
    said: Callable[[_Bar], str],
    *,
    width: int = 168,
    height: int = 44,
) -> Markup:
    """Bars beside each other, from nought.

    Args:
        bars: at least one.
        label: what the chart shows, in words.
        said: what one bar says, shown when it is pointed at.
        width: in pixels, of the drawing; the page scales it.
        height: in pixels.
    """
    most = max(bar.value for bar in bars) or 1.0
    step = width / len(bars)
    gap = min(1.5, step / 5)
    parts = []
    for place, bar in enumerate(bars):
        tall = bar.value / most * (height - 1 - _PAD)
        if bar.value > 0:
            tall = max(tall, 1.0)
        # A single bar as wide as the chart reads as a block: it is drawn as a column.
        wide = min(step - gap, width / 6)
        left = place * step + (step - wide) / 2
        title = escape(said(bar))
        parts.append(
            f'<g><rect class="reach" x="{place * step:.1f}" y="0" width="{step:.1f}" '
            f'height="{height}"/><rect class="bar" x="{left:.1f}" y="{height - 1 - tall:.1f}" '
            f'width="{wide:.1f}" height="{tall:.1f}"/><title>{title}</title></g>'
        )
    base = f'<line class="base" x1="0" x2="{width}" y1="{height - 0.5}" y2="{height - 0.5}"/>'
    return drawing("bars", width, height, label, "".join(parts) + base)


def line_chart(
    points: Sequence[Dated],
    label: str,
    said: Callable[[Any], str],
    *,
    width: int = 168,
    height: int = 44,
) -> Markup:
    """A line through the periods' values, from the lowest to the highest; gaps break it.

    Args:
        points: in the order of their periods.
        label: what the chart shows, in words.
        said: a value, for people.
        width: in pixels, of the drawing; the page scales it.
        height: in pixels.
    """
    values = [point.value for point in points if point.value is not None]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    span = high - low
    margin = 4.0

    def at(place: int) -> float:
        if len(points) == 1:
            return width / 2
        return margin + place * (width - 2 * margin) / (len(points) - 1)

    def over(value: float) -> float:
        if span == 0:
            return height / 2
        return height - margin - (value - low) / span * (height - 2 * margin)

    runs: list[list[tuple[float, float]]] = [[]]
    for place, point in enumerate(points):
        if point.value is None:
            runs.append([])
        else:
            runs[-1].append((at(place), over(point.value)))
    parts = []
    for run in (run for run in runs if run):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        if len(run) == 1:
            [(x, y)] = run
            parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2"/>')
            continue
        first, last = run[0][0], run[-1][0]
        parts.append(
            f'<polygon class="under" points="{first:.1f},{height} {line} {last:.1f},{height}"/>'
            f'<polyline class="line" points="{line}"/>'
        )
    place = max(index for index, point in enumerate(points) if point.value is not None)
    newest = points[place].value
    if newest is not None:
        parts.append(
            f'<circle class="newest" cx="{at(place):.1f}" cy="{over(newest):.1f}" r="2.5"/>'
        )
    step = width / len(points)
    for index, point in enumerate(points):
        text = "no row" if point.value is None else said(point.value)
        parts.append(
            f'<rect class="reach" x="{index * step:.1f}" y="0" width="{step:.1f}" '
            f'height="{height}"><title>{escape(f"{point.period}: {text}")}</title></rect>'
        )
    return drawing("spark", width, height, label, "".join(parts))


def drawing(kind: str, width: int, height: int, label: str, inside: str) -> Markup:
    """A drawing that fills its place on the page, whatever the place's shape.

    Args:
        kind: its class, for the style.
        width: of its own units.
        height: of its own units.
        label: what it shows, in words.
        inside: its elements; every text in them is escaped.
    """
    said = escape(label)
    return Markup(
        f'<svg class="chart {kind}" role="img" aria-label="{said}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" preserveAspectRatio="none"><title>{said}</title>'
        f"{inside}</svg>"
    )
