"""``platemill status``: runs, generations, days, what waits and what is quarantined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table, stdout
from platemill.settings import load_settings

__all__ = ["status"]

# What fits a terminal; ``--json`` has all.
_RUN = ("run_id", "state", "generation", "images_new", "quarantined", "plates", "seconds", "price")
_GENERATION = ("generation", "created_at", "run_id", "days", "images", "recognitions", "bytes")


def status(home: HomeOption, json: JsonOption = False) -> None:
    """Show what happened: runs, generations, days, what is waiting, what is quarantined and why."""
    from platemill.launch.status import home_status

    found = home_status(load_settings(home=home))
    if json:
        print_json(found)
        return
    stdout.print(f"home {found['home']}, generation {found['generation'] or 'none yet'}")
    _show("runs, newest first", found["runs"], _RUN)
    _show("generations, newest first", found["generations"], _GENERATION)
    _show("days", found["days"])
    _show("waiting: seen, but not in the current generation", found["waiting"])
    _show("quarantined", found["quarantined"], ("reason", "images", "detail", "example"))
    for run in found["runs"]:
        if run["error"]:
            stdout.print(f"[bold]{run['run_id']}[/] {run['error']}", highlight=False)


def _show(title: str, rows: list[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    if not rows:
        stdout.print(f"[bold]{title}[/]: none\n")
        return
    names = list(columns or rows[0])
    heads = [name.replace("_", " ") for name in names]
    print_table(heads, [[row.get(name) for name in names] for row in rows], title=title)
