"""The page's drawings: lanes of time, speed, shares, and boxes over photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from platemill.pages.charts import bars_chart, drawing
from platemill.report.facts import Photo
from platemill.report.moments import Bar, Lane, StageTry, Times
from platemill.report.tallies import DoneRow
from platemill.report.words import clock
from platemill.schema import CONFIDENCE_BINS

__all__ = [
    "confidence_chart",
    "confidence_kind",
    "cost_bar",
    "heat",
    "lane_chart",
    "overlay",
    "rate_chart",
    "share_bar",
    "stage_lanes",
    "ticks",
]

_WIDE: Final = 1000
_ROW: Final = 14
_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600)
_MOST_TICKS: Final = 6
_SURE: Final = 0.9
_UNSURE: Final = 0.5


@dataclass(frozen=True)
class Tick:
    """A time on the axis: its place in per cent, and what it says."""

    place: float
    said: str


@dataclass(frozen=True)
class _Count:
    value: float
    said: str


def ticks(seconds: float) -> list[Tick]:
    """At most seven round times on the axis of a night."""
    seconds = max(seconds, 0.001)
    step: float = next((s for s in _STEPS if seconds / s <= _MOST_TICKS), 86400)
    while seconds / step > _MOST_TICKS:
        step *= 2
    return [
        Tick(100 * place * step / seconds, clock(place * step))
        for place in range(int(seconds / step) + 1)
    ]


def stage_lanes(times: Times) -> list[Lane]:
    """A lane a stage, with a bar an attempt."""
    stages: dict[str, list[StageTry]] = {}
    for one in times.tries:
        stages.setdefault(one.stage, []).append(one)
    lanes = []
    for stage, tries in stages.items():
        bars = [Bar(one.began, one.ended, _said(one), _kind(one)) for one in tries]
        seconds = sum(one.seconds for one in tries)
        note = clock(seconds) + (f" in {len(tries)} attempts" if len(tries) > 1 else "")
        lanes.append(Lane(stage, "stage", tuple(bars), (), note))
    return lanes


def _said(one: StageTry) -> str:
    how = f" failed: {one.error}" if one.error else ", not ended" if one.is_open else ""
    return f"{one.stage}{how}, from {clock(one.began)} on for {clock(one.seconds)}"


def _kind(one: StageTry) -> str:
    return "failed" if one.error else "open" if one.is_open else "stage"


def lane_chart(lane: Lane, seconds: float) -> Markup:
    """A lane's bars and marks over the whole night; bars that overlap lie below one another."""
    seconds = max(seconds, 0.001)
    rows = _rows(lane.bars)
    high = _ROW * max(len(rows), 1) + 4
    parts = []
    for place, row in enumerate(rows):
        for bar in row:
            left = bar.began / seconds * _WIDE
            # Whatever happened can be seen.
            wide = max((bar.ended - bar.began) / seconds * _WIDE, 2.0)
            left = min(left, _WIDE - wide)
            parts.append(
                f'<rect class="{escape(_class_of(lane, bar))}" x="{left:.1f}" '
                f'y="{place * _ROW + 3}" width="{wide:.1f}" height="{_ROW - 2}">'
                f"<title>{escape(bar.said)}</title></rect>"
            )
    for mark in lane.marks:
        x = min(max(mark.at / seconds, 0.0), 1.0) * _WIDE
        parts.append(
            f'<line class="mark {escape(mark.kind)}" x1="{x:.1f}" x2="{x:.1f}" y1="0" '
            f'y2="{high}"><title>{escape(f"{clock(mark.at)}: {mark.said}")}</title></line>'
        )
    said = "; ".join([bar.said for bar in lane.bars[:3]] + [mark.said for mark in lane.marks[:3]])
    return drawing("lane", _WIDE, high, f"{lane.name}, {lane.note}: {said}", "".join(parts))


def _class_of(lane: Lane, bar: Bar) -> str:
    return f"{lane.kind} {bar.kind}"


def _rows(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Bars in as few rows as they need, so that none lies over another."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: bar.began):
        row = next((row for row in rows if row[-1].ended <= bar.began + 0.01), None)
        if row is None:
            rows.append(row := [])
        row.append(bar)
    return rows


def rate_chart(times: Times) -> Markup:
    """Images a second while shards were worked on."""
    counts = [
        _Count(rate, f"{clock(times.rate_began + place * times.step)}: {rate:,.1f} images a second")
        for place, rate in enumerate(times.rate)
    ]
    label = f"images a second, at most {max(times.rate):,.0f}"
    return bars_chart(counts, label, lambda count: count.said, width=720, height=110)


def confidence_chart(counts: Sequence[int]) -> Markup:
    """Plates by confidence; a few unsure ones are seen beside very many that are sure."""
    width = 1 / CONFIDENCE_BINS
    bars = [
        _Count(
            count**0.5,
            f"{count:,} plates of confidence {place * width:.2f} to {(place + 1) * width:.2f}",
        )
        for place, count in enumerate(counts)
    ]
    label = "plates by confidence, from 0 to 1; a bar's height is the root of their number"
    return bars_chart(bars, label, lambda bar: bar.said, width=720, height=110)


def share_bar(row: DoneRow) -> Markup:
    """What became of a day's images, as shares of its bar."""
    said = f"{row.recognised:,} recognised, {row.no_plate:,} without a plate, "
    said += f"{row.quarantined:,} in quarantine"
    parts, left = [], 0.0
    for kind in ("recognised", "no_plate", "quarantined"):
        images = getattr(row, kind)
        if not images or not row.images:
            continue
        wide = images / row.images * _WIDE
        shown = max(wide, 4.0)  # a single photo of a million is seen
        parts.append(
            f'<rect class="{kind}" x="{min(left, _WIDE - shown):.1f}" y="0" width="{shown:.1f}" '
            'height="10"/>'
        )
        left += wide
    return drawing("shares", _WIDE, 10, said, "".join(parts))


def cost_bar(actual: float, expected: float | None, most: float) -> Markup:
    """What a stage took, as a bar, and what was expected of it, as a line over it."""
    most = max(most, 0.001)
    said = f"took {clock(actual)}"
    wide = max(actual / most * _WIDE, 2.0) if actual else 0.0
    inside = f'<rect class="bar" x="0" y="2" width="{wide:.1f}" height="8"/>'
    if expected is not None:
        said += f", expected {clock(expected)}"
        x = expected / most * _WIDE
        inside += f'<line class="expected" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="12"/>'
    return drawing("cost", _WIDE, 12, said, inside)


def confidence_kind(confidence: float) -> str:
    """``sure``, ``fair`` or ``unsure``."""
    if confidence >= _SURE:
        return "sure"
    return "fair" if confidence >= _UNSURE else "unsure"


def overlay(photo: Photo) -> Markup:
    """The boxes and texts over a photo, in the photo's own pixels; its words are beside it."""
    size = photo.width / 26
    placed: list[tuple[float, float, float]] = []
    parts = []
    # The least confident last: it lies on top.
    for plate in reversed(photo.plates):
        kind = confidence_kind(plate.confidence)
        x, y, right, bottom = plate.box
        place = f'x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" height="{bottom - y:.1f}"'
        parts.append(f'<rect class="halo" {place}/><rect class="{kind}" {place}/>')
        said = plate.text or plate.raw_text or "?"
        at = _text_place(plate.box, said, size, photo, placed)
        parts.append(
            f'<text class="{kind}" x="{at[0]:.1f}" y="{at[1]:.1f}" '
            f'font-size="{size:.1f}">{escape(said)}</text>'
        )
    return Markup(
        f'<svg class="overlay" viewBox="0 0 {photo.width} {photo.height}" aria-hidden="true" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _text_place(
    box: tuple[float, float, float, float],
    said: str,
    size: float,
    photo: Photo,
    placed: list[tuple[float, float, float]],
) -> tuple[float, float]:
    """Where a text's line begins: above its box, below it, or where no other text is."""
    wide = 0.66 * size * len(said)
    left = max(min(box[0], photo.width - wide), 0.0)

    def is_free(y: float) -> bool:
        return size <= y <= photo.height - 0.2 * size and not any(
            abs(y - other) < size and left < end and begin < left + wide
            for begin, end, other in placed
        )

    y = next((y for y in _heights(box, size) if is_free(y)), max(box[1] - 0.35 * size, size))
    placed.append((left, left + wide, y))
    return left, y


def _heights(box: tuple[float, float, float, float], size: float) -> Iterator[float]:
    for step in range(4):
        yield box[1] - (0.35 + 1.1 * step) * size
        yield box[3] + (1.0 + 1.1 * step) * size


def heat(cells: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Of each cell how strongly it is coloured, 1 to 5."""
    most = max(cells.values(), default=1)
    return {key: max(1, min(5, round(5 * count / most))) for key, count in cells.items()}
