"""``platemill lookup``: the online features of keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table
from platemill.settings import load_settings

__all__ = ["lookup"]


class Entity(StrEnum):
    """What can be looked up."""

    PLATE = "plate"
    CAMERA = "camera"
    IMAGE = "image"


def lookup(
    entity: Annotated[Entity, typer.Argument(help="What the keys are.")],
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys to look up.")],
    home: HomeOption,
    json: JsonOption = False,
) -> None:
    """Look up the precomputed features of plates, cameras or images, through Feast.

    platemill lookup --home ./home plate A123BC77
    """
    from platemill.features.lookup import lookup as look_up

    rows = look_up(load_settings(home=home), entity.value, keys)
    if json:
        print_json({"entity": entity.value, "rows": rows})
        return
    # One column a key: a key has more features than a terminal has columns.
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(("feature", *keys), [(name, *(row.get(name) for row in rows)) for name in names])
