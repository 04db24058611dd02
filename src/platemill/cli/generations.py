"""``platemill generations``: the published nights that are left, and which one is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table, stdout
from platemill.settings import load_settings

__all__ = ["generations"]

# What fits a terminal; ``--json`` has all.
_HEADS = ("#", "created, UTC", "made by", "days", "images", "plates", "bytes", "shown by")


def generations(home: HomeOption, json: JsonOption = False) -> None:
    """Show the generations: every published night that is left, newest first.

    A generation is one whole state of facts, tiles and online features. Readers see the newest;
    `platemill rollback` brings an older one back, `platemill vacuum` removes the oldest.

        platemill generations --home ./home
    """
    from platemill.launch.generations import list_generations

    found = list_generations(load_settings(home=home))
    if json:
        print_json(found)
        return
    stdout.print(f"home {found['home']}, generation {found['current'] or 'none yet'}")
    if found["generations"]:
        print_table(_HEADS, [_shown(row) for row in found["generations"]])


def _shown(row: Mapping[str, Any]) -> list[object]:
    made_by = f"{row['kind']} to {row['restores']}" if row["restores"] else row["kind"]
    readers = ", ".join(name for name in ("sql", "online") if row[name])
    counts = (row[name] for name in ("days", "images", "recognitions", "bytes"))
    return [row["generation"], f"{row['created_at']:%Y-%m-%d %H:%M}", made_by, *counts, readers]
