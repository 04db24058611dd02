"""``platemill status``: runs, generations, days, what waits and what is quarantined."""

from __future__ import annotations

from typing import Any

from platemill.cli.output import HomeOption, JsonOption, print_json, print_table, stdout
from platemill.settings import load_settings

__all__ = ["status"]


def status(home: HomeOption, json: JsonOption = False) -> None:
    """Show what happened: runs, generations, days, what is waiting, what is quarantined and why."""
    from platemill.launch.report import report

    found = report(load_settings(home=home))
    if json:
        print_json(found)
        return
    stdout.print(f"home {found['home']}, generation {found['generation'] or 'none yet'}")
    for title, part in (
        ("runs, newest first", "runs"),
        ("generations, newest first", "generations"),
        ("days", "days"),
        ("waiting: seen, but not in the current generation", "waiting"),
        ("quarantined", "quarantined"),
    ):
        _show(title, found[part])


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        print_table(list(rows[0]), [tuple(row.values()) for row in rows], title=title)
    else:
        stdout.print(f"[bold]{title}[/]: none")
