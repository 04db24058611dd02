"""The page itself: a template over the facts of a night, and the file that it goes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from platemill.lake.storage import clear_disk_errors
from platemill.pages import icon_url, style_of, template_environment, wording
from platemill.report import drawings, words
from platemill.report.contact import name_of
from platemill.report.counts import CAMERAS_SHOWN, DAYS_SHOWN
from platemill.report.facts import NightFacts
from platemill.report.moments import Times
from platemill.report.tallies import Came, CameRow, DoneRow

__all__ = ["render", "write_page"]

_PACKAGE: Final = "platemill.report"
_SECTIONS: Final = (
    ("came", "What came"),
    ("done", "What was done"),
    ("failed", "What failed"),
    ("times", "Time"),
    ("cost", "Cost"),
    ("checks", "Checks"),
    ("late", "Late days"),
    ("models", "Models"),
    ("photos", "Photos"),
)

_KINDS: Final = (
    ("new", "New"),
    ("changed", "Changed"),
    ("again", "Again"),
    ("deleted", "Deleted"),
    ("returned", "Back"),
)


def write_page(path: Path, facts: NightFacts) -> int:
    """Write the page in one step, readable by its owner alone; returns its size in bytes.

    Args:
        path: the file; its folder is made if it is missing.
        facts: the night.

    Raises:
        RetryableError: the disk is full.
    """
    page = render(facts).encode()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.unlink(missing_ok=True)
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(page)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return len(page)


def render(facts: NightFacts) -> str:
    """The page as HTML that needs nothing else: no network, no script, no other file."""
    environment = template_environment(_PACKAGE)
    environment.globals |= {
        "clock": words.clock,
        "confidence_chart": drawings.confidence_chart,
        "confidence_kind": drawings.confidence_kind,
        "cost_bar": drawings.cost_bar,
        "lane_chart": drawings.lane_chart,
        "money": words.money,
        "name_of": name_of,
        "overlay": drawings.overlay,
        "rate_chart": drawings.rate_chart,
        "share_bar": drawings.share_bar,
    }
    macros: Any = environment.get_template("macros.html").module
    return (
        environment.get_template("night.html").render(
            facts=facts,
            sections=_SECTIONS,
            style=Markup(style_of(_PACKAGE, "report.css")),
            icon=Markup(icon_url()),
            badges=words.BADGES,
            badge=words.BADGES.get(facts.state, "warn"),
            day=_long(facts.started_at.astimezone(UTC).date()),
            headline=words.headline(facts),
            glance=_glance(facts),
            came_row=macros.came_row,
            lane=macros.lane,
            check_table=macros.check_table,
            days_shown=DAYS_SHOWN,
            **_came(facts),
            **_done(facts),
            **_failed(facts),
            **_times(facts),
            costs=_costs(facts.costs),
            checks={
                name: [row for row in facts.checks if row.result == result]
                for name, result in (
                    ("stopped", "stopped"),
                    ("warnings", "warning"),
                    ("passed", "ok"),
                )
            },
        )
        + "\n"
    )


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _glance(facts: NightFacts) -> list[Mapping[str, str]]:
    """The night in a few figures."""
    came, done = facts.came, facts.done
    results = sum(row.images for row in done.days)
    tiles = [
        ("to recognise", wording.count(came.images), _of_all(came)),
        (
            "plates",
            wording.count(done.total("plates")),
            f"in {wording.count(done.total('recognised'))} images",
        ),
        (
            "in quarantine",
            wording.count(done.total("quarantined")),
            f"{wording.share(done.total('quarantined'), results)} of the images"
            if results
            else "nothing was recognised",
        ),
    ]
    if came.deleted or came.returned:
        tiles.append(
            ("deleted", wording.count(came.deleted), f"{wording.count(came.returned)} are back")
        )
    if facts.seconds is not None:
        busy = [
            one for one in (facts.times.tries if facts.times else ()) if one.stage == "recognise"
        ]
        seconds = sum(one.seconds for one in busy)
        more = "from its beginning to its end"
        if results and seconds:
            more = f"{results / seconds:,.1f} images a second in stage recognise"
        tiles.append(
            ("has taken" if facts.is_running else "took", wording.duration(facts.seconds), more)
        )
    costs = facts.costs
    if costs is not None and costs["price"] is not None:
        expected = costs["estimated_price"]
        more = "nothing was expected" if expected is None else f"expected {words.money(expected)}"
        tiles.append(("cost", words.money(costs["price"], costs["currency"]), more))
    elif costs is not None:
        tiles.append(("node hours", f"{costs['node_hours']:,.3g}", "there are no prices"))
    return [{"name": name, "value": value, "more": more} for name, value, more in tiles]


def _of_all(came: Came) -> str:
    if came.seen is None:
        return "the inventory was not finished"
    seen = f"of {wording.count(came.seen)} in the archives"
    return f"{wording.size(came.bytes)}, {seen}" if came.images else seen


def _came(facts: NightFacts) -> dict[str, Any]:
    rows = facts.came.days
    shown, older = rows[-DAYS_SHOWN:], rows[:-DAYS_SHOWN]
    cameras = facts.came.cameras
    return {
        "days": {
            "rows": shown,
            "older": _added(older, f"{len(older)} older days") if older else None,
            "total": _added(rows, "All"),
            "columns": [
                (kind, title)
                for kind, title in _KINDS
                if any(getattr(row, kind) != 0 for row in rows)
            ],
        },
        "cameras": {
            "shown": cameras[:CAMERAS_SHOWN],
            "more": cameras[CAMERAS_SHOWN:],
            "heat": drawings.heat(facts.came.cells),
        },
    }


def _added(rows: Sequence[CameRow], name: str) -> CameRow:
    def total(what: str) -> Any:
        values = [getattr(row, what) for row in rows]
        return None if None in values else sum(values)

    kinds = ("images", "bytes", "new", "changed", "again", "deleted", "returned")
    return CameRow(name, *(total(kind) for kind in kinds))


def _done(facts: NightFacts) -> dict[str, Any]:
    rows = facts.done.days
    older = rows[:-DAYS_SHOWN]
    sums = [(f"{len(older)} older days", _summed(older))] if older else []
    return {
        "done_days": {
            "rows": rows[-DAYS_SHOWN:],
            "sums": [*sums, ("All", _summed(rows))] if rows else [],
        }
    }


def _summed(rows: Sequence[DoneRow]) -> DoneRow:
    summed = rows[0]
    for row in rows[1:]:
        summed = replace(
            summed,
            recognised=summed.recognised + row.recognised,
            no_plate=summed.no_plate + row.no_plate,
            quarantined=summed.quarantined + row.quarantined,
            plates=summed.plates + row.plates,
        )
    return summed


def _failed(facts: NightFacts) -> dict[str, Any]:
    tries = facts.times.tries if facts.times else ()
    return {
        "quarantined": facts.done.quarantined,
        "failed_tries": [one for one in tries if one.error],
        "lost": facts.times.lost if facts.times else (),
    }


def _times(facts: NightFacts) -> dict[str, Any]:
    times = facts.times
    if times is None:
        return {}
    told: dict[str, Any] = {
        "axis": drawings.ticks(times.seconds),
        "lanes": drawings.stage_lanes(times),
        "legend": list(_legend(times)),
    }
    if times.rate:
        told |= {
            "most_rate": max(times.rate),
            "mean_rate": sum(times.rate) / len(times.rate),
            "rate_end": times.rate_began + len(times.rate) * times.step,
        }
    return told


def _legend(times: Times) -> Iterator[tuple[str, str]]:
    """What is drawn, and what it means."""
    bars = {bar.kind for lane in times.nodes for bar in lane.bars}
    marks = {mark.kind for lane in times.nodes for mark in lane.marks}
    yield "stage", "stage"
    for is_there, kind, said in (
        (any(one.error for one in times.tries), "failed", "failed"),
        (any(one.is_open for one in times.tries), "open", "not ended"),
        (bars - {"gpu", "shard"}, "node", "node is up"),
        ("gpu" in bars, "gpu", "node with a GPU is up"),
        ("shard" in bars, "shard", "shard"),
        ("ready" in marks, "ready", "Triton is ready"),
        ("lost" in marks, "lost", "something is lost"),
    ):
        if is_there:
            yield kind, said


def _costs(costs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if costs is None:
        return {}
    stages = costs["stages"]
    order = [*words.STAGES, *(stage for stage in stages if stage not in words.STAGES)]
    rows = [
        {"name": words.STAGES.get(stage, stage), **stages[stage]}
        for stage in order
        if stage in stages
    ]
    most = max(max(row["seconds"], row["estimated_seconds"] or 0.0) for row in rows)
    return {
        "rows": rows,
        "most": most,
        "places": words.places(costs["price"]) + 1,
        "expected": costs["estimated_seconds"] is not None,
    }
