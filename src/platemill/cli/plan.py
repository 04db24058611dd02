"""``platemill plan``: what a night would do and cost, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    print_json,
    print_table,
    say,
    stderr,
    stdout,
)
from platemill.cli.run import days_given
from platemill.costs.words import duration, price_text
from platemill.settings import load_settings

if TYPE_CHECKING:
    from platemill.launch.outlook import DryRun

__all__ = ["plan"]

_DAYS_SHOWN = 15


def plan(
    home: HomeOption,
    archive: Annotated[
        list[str],
        typer.Option(help="A folder, a .tar or a .zip, or a folder of such files. Repeatable."),
    ],
    day: Annotated[
        list[str], typer.Option(help="Only images of this UTC day (YYYY-MM-DD). Repeatable.")
    ] = [],  # noqa: B006 (typer reads the default, nothing changes it)
    layout: Annotated[
        str | None, typer.Option(help="Path template that camera and time are read from.")
    ] = None,
    profile: ProfileOption = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="PRICE", help="Say which days `run --budget` would do."),
    ] = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="As if size and time of known images said nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say what a night would do, take and cost. Nothing is started, and nothing is written.

    Seconds come from what the last runs took (`run_costs`), prices from PLATEMILL_NODE_PRICES, what
    an hour of a node costs by its kind. Before the first night no seconds are known, and none are
    told.

        PLATEMILL_NODE_PRICES='{"cpu": 0.10}' platemill plan --home ./home --archive ./photos
    """
    from platemill.launch.outlook import dry_run

    settings = load_settings(home=home, layout=layout, profile=profile, rehash=rehash or None)
    with stderr.status("taking the inventory …") as status:
        found = dry_run(
            settings,
            archive,
            days_given(day),
            budget,
            lambda done: status.update(f"taking the inventory … {done:,} files"),
        )
    if json:
        print_json(found.to_json())
        return
    _print(found, budget)


def _print(found: DryRun, budget: float | None) -> None:
    images = sum(work.images for work in found.days)
    if not images:
        stdout.print(f"Nothing new in {found.seen:,} images.")
        return
    size = sum(work.bytes or 0 for work in found.days)
    shards = sum(work.shards for work in found.days)
    recorded = sum(work.recorded for work in found.days)
    say_it = f"{images:,} new images of {found.seen:,}: {len(found.days):,} days, "
    stdout.print(say_it + f"{size / 1e9:,.3f} GB, {shards:,} shards", highlight=False)
    if recorded:
        stdout.print(f"{recorded:,} of them are recognised already, by a run that was stopped")
    expected = found.choice.estimate
    newest = sorted(found.days, key=lambda work: work.day, reverse=True)
    heads = ["day", "images", "recognised already", "MB", "shards"]
    rows: list[list[object]] = [
        [work.day, work.images, work.recorded, round((work.bytes or 0) / 1e6, 1), work.shards]
        for work in newest[:_DAYS_SHOWN]
    ]
    if budget is not None:
        left = {work.day for work in found.choice.left}
        heads.append("budget")
        for row in rows:
            row.append("left" if row[0] in left else "pays")
    print_table(heads, rows)
    if len(newest) > _DAYS_SHOWN:
        stdout.print(f"and {len(newest) - _DAYS_SHOWN:,} older days (--json shows them all)")
    if expected.stages is None or expected.rates is None:
        stdout.print(
            "How long it takes is not known: no run here has recognised anything yet. After the "
            "first night it is."
        )
        return
    currency = expected.prices.currency
    print_table(
        ("stage", "nodes", "time", "node hours", "price"),
        [
            (
                stage.stage,
                stage.node_kind,
                duration(stage.seconds),
                f"{stage.node_seconds / 3600:.3g}",
                None if stage.price is None else price_text(stage.price, currency),
            )
            for stage in expected.stages
        ],
    )
    total = f"in all {duration(expected.seconds or 0.0)}, {expected.node_hours:.3g} node hours"
    if expected.price is not None:
        total += f", {price_text(expected.price, currency)}"
    stdout.print(total, highlight=False)
    rates = expected.rates
    whose = "this pipeline" if rates.same_pipeline else "another pipeline: this one never ran here"
    say(
        f"rates: the median of runs of a like size among the last {len(rates.run_ids)} "
        f"({rates.images:,} images), on {' and '.join(rates.kinds)} nodes, of {whose}"
    )
    if expected.price is None:
        say(f"no price of {', '.join(expected.unpriced)} nodes: set PLATEMILL_NODE_PRICES")
