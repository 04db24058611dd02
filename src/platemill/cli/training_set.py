"""``platemill training-set``: keys and times in, features as they were known then out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table, say, stderr
from platemill.settings import load_settings

__all__ = ["training_set"]


def training_set(
    entities: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Parquet or CSV with the key (plate, camera_id or image_id), event_timestamp "
            "(without a zone: UTC) and any columns of yours, which are passed through.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .parquet or .csv file that is written.")
    ],
    home: HomeOption,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE",
            help="A feature service, plate_lookup_v1 say; may be given several times.",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEW:FEATURE",
            help="A single feature, plate_day_v1:sightings say; may be given several times.",
        ),
    ] = None,
    corrected_past: Annotated[
        bool,
        typer.Option(
            "--corrected-past",
            help="Use what is known today about the past. Rows then hold corrections that came "
            "after their time: a model that is trained on them looks better than it will be.",
        ),
    ] = False,
    full_feature_names: Annotated[
        bool,
        typer.Option(
            "--full-feature-names/--short-feature-names",
            help="Name the columns view__feature or, as Feast's own default, feature alone.",
        ),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be read, stop.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a training set that is correct in time, the same as Feast's and faster.

    Every row of the entity file comes out once, in its place, with the features of its key as they
    were known at its event_timestamp: nothing that was computed or corrected later. A key that is
    unknown, or whose last value has outlived its time to live, gets nulls. docs/training-sets.md
    says more.

        platemill training-set --home ./home --entities asked.csv --service plate_lookup_v1
        --out train.parquet
    """
    from platemill.features.training_set import TrainingRequest, build_training_set

    request = TrainingRequest(
        entities, out, service or (), feature or (), corrected_past, full_feature_names
    )
    bar = Progress(console=stderr, transient=True, disable=not stderr.is_terminal)
    with bar:
        task = bar.add_task("entities")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        found = build_training_set(
            load_settings(home=home), request, dry_run=dry_run, progress=show
        )
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    rows = found["rows"]
    names = ["matched", "expired", "deleted", "nothing"]
    shown = []
    for view, said in found["views"].items():
        counts = [_share(said[name], rows) for name in names] if "matched" in said else []
        read = [said["files"], said["stored_rows"], said["stored_bytes"]] if not counts else []
        shown.append((view, said["features"], *counts, *read))
    columns = names if not found["dry_run"] else ["files", "rows", "bytes"]
    print_table(("view", "features", *columns), shown)
    past = "as it was known" if found["past"] == "as_known" else "the corrected past"
    say(
        f"{rows:,} rows from {_day(found['first'])} to {_day(found['last'])}, {past}, generation "
        f"{found['generation']}, memory limit {found['memory_limit']}"
    )
    if found["timeless"]:
        say(f"{found['timeless']:,} rows have no event_timestamp: their features are null")
    if found["rows_after_generation"]:
        say(
            f"{found['rows_after_generation']:,} rows are later than the generation: what will be "
            "known then is not known yet, and later nights will change them"
        )
    if found["dry_run"]:
        say("nothing was written")
    else:
        say(f"{found['bytes']:,} bytes in {found['out']} after {found['seconds']:.2f} s")


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%}" if rows else ""


def _day(moment: dt.datetime | None) -> str:
    return "no time" if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%d}"
