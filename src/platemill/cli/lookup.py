"""``platemill lookup``: the online features of keys, and how old they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table, say, stdout
from platemill.settings import load_settings

__all__ = ["lookup"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Entity(StrEnum):
    """What can be looked up."""

    PLATE = "plate"
    CAMERA = "camera"
    IMAGE = "image"


def lookup(
    entity: Annotated[Entity, typer.Argument(help="What the keys are.")],
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys to look up.")],
    home: HomeOption,
    include_expired: Annotated[
        bool,
        typer.Option(
            "--include-expired",
            help="Show values whose time to live is over, too; their view is marked as expired.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Look up the precomputed features of plates, cameras or images, and how old they are.

    The answer is one night's, which it names. Each feature view says whether its values are
    current, expired (older than the view's time to live: they are not shown) or missing, and how
    long ago their period ended, if it has. Docs: docs/lookups.md.

    platemill lookup --home ./home plate A123BC77

    platemill lookup --home ./home camera gate-1 gate-2 --json
    """
    from platemill.features.lookup import lookup as look_up

    settings = load_settings(home=home)
    rows = look_up(settings, entity.value, keys, include_expired=include_expired)
    if json:
        print_json({"entity": entity.value, "rows": [_plain(row) for row in rows]})
        return
    first = rows[0]
    stdout.print(
        f"generation {first['generation']}, published {first['published_at']:%Y-%m-%d %H:%M:%S} UTC"
    )
    # One column a key: a key has more features than a terminal has columns.
    print_table(("feature", *keys), _lines(rows))
    hidden = any(age.status == "expired" for row in rows for age in row["views"].values())
    if hidden and not include_expired:
        say("expired values are not shown; --include-expired shows them")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "views": {name: asdict(age) for name, age in row["views"].items()}}


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    """A line a feature under a line a view."""
    for view in rows[0]["views"]:
        yield (view, *(_age(row["views"][view]) for row in rows))
        prefix = f"{view}__"
        for name in rows[0]:
            if name.startswith(prefix):
                yield (f"  {name.removeprefix(prefix)}", *(row[name] for row in rows))


def _age(age: Any) -> str:
    """``current, 3 d 4 h old``, say: the two largest units."""
    if age.age_seconds is None:
        return str(age.status)
    if age.age_seconds == 0:
        return f"{age.status}, period not over"
    left = age.age_seconds
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return f"{age.status}, {' '.join(parts[:2])} old"
