"""What the commands print: answers to stdout, progress and logs to stderr."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = [
    "HomeOption",
    "JsonOption",
    "ProfileOption",
    "WaitOption",
    "print_json",
    "print_table",
    "say",
    "stderr",
    "stdout",
]

stdout = Console()
stderr = Console(stderr=True)

HomeOption = Annotated[
    str,
    typer.Option("--home", envvar="PLATEMILL_HOME", help="Folder that holds all that is written."),
]
ProfileOption = Annotated[
    Path | None,
    typer.Option("--profile", help="Networks and plate format of your own: docs/profiles.md."),
]
WaitOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        help="How long to wait for a run that holds what this one needs; 0 refuses at once, with "
        "exit code 4 and who it is. Default: an hour.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def say(text: str) -> None:
    """Print a line on stderr as it is."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


def _plain(value: object) -> Any:
    """Return a value as JSON can hold it: times in ISO 8601, decimals as numbers, NaN as null."""
    match value:
        case dt.datetime():
            at = value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
            return at.isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return value.hex()
        case Mapping():
            return {str(k): _plain(v) for k, v in value.items()}
        case str() | int() | None:
            return value
        case Iterable():
            return [_plain(v) for v in value]
        case _:
            return str(value)


def print_json(value: object) -> None:
    """Print one JSON object on stdout."""
    typer.echo(json.dumps(_plain(value), ensure_ascii=False))


def _cell(value: object) -> str:
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(dt.UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S}"
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, float):
        return f"{plain:.6g}"
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False)
    return str(plain)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print rows as a table on stdout, numbers to the right."""
    body = [list(row) for row in rows]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        numeric = body and all(isinstance(r[index], int | float | None) for r in body)
        longest = max(map(len, column.split()), default=0)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(column, justify=justify, overflow="fold", min_width=longest)
    for row in body:
        table.add_row(*(_cell(value).replace("[", r"\[") for value in row))
    stdout.print(table)
