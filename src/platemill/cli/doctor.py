"""``platemill doctor``: what is missing on this machine and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from platemill.cli.output import JsonOption, print_json, stdout
from platemill.settings import load_settings

__all__ = ["doctor"]


def doctor(
    json: JsonOption = False,
    home: Annotated[
        str, typer.Option("--home", envvar="PLATEMILL_HOME", help="Needed for settings only.")
    ] = ".",
) -> None:
    """Check both environments, the models and the machine; exit code 2 if something is missing.

    Nothing is started and nothing is changed.
    """
    from platemill.serving.diagnosis import diagnose

    findings = diagnose(load_settings(home=Path(home)))
    missing = [finding for finding in findings if not finding.ok]
    if json:
        print_json({"ok": not missing, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = "[green]ok     [/]" if finding.ok else "[bold red]missing[/]"
            stdout.print(mark, end=" ")
            text = f"{finding.what}: {finding.seen}"
            stdout.print(text, markup=False, highlight=False, soft_wrap=True)
            if not finding.ok:
                cure = f"        cure: {finding.cure}"
                stdout.print(cure, markup=False, highlight=False, soft_wrap=True)
        stdout.print("everything is there" if not missing else f"{len(missing)} to mend")
    if missing:
        raise typer.Exit(2)
