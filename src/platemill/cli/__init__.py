"""The command line: ``platemill run|sql|lookup|status|generations|rollback|vacuum|…``.

Exit codes: 0 done, 2 wrong usage or configuration, 3 a check failed and nothing was published,
4 a retryable failure. ``--json`` prints one JSON object on stdout and nothing else there; progress
and logs go to stderr.
"""

from __future__ import annotations

import sys

import typer

from platemill.cli.backfill import backfill
from platemill.cli.catalog import catalog
from platemill.cli.demo import demo
from platemill.cli.doctor import doctor
from platemill.cli.evaluate import evaluate
from platemill.cli.generations import generations
from platemill.cli.lookup import lookup
from platemill.cli.output import stderr
from platemill.cli.plan import plan
from platemill.cli.profile import profile_app
from platemill.cli.quarantine import quarantine_app
from platemill.cli.report import report
from platemill.cli.rollback import rollback
from platemill.cli.run import run
from platemill.cli.schedule import schedule
from platemill.cli.sql import sql
from platemill.cli.status import status
from platemill.cli.train import train_app
from platemill.cli.training_set import training_set
from platemill.cli.triton import triton_app
from platemill.cli.tune import tune
from platemill.cli.vacuum import vacuum
from platemill.errors import PlatemillError, kind_of
from platemill.lake.storage import plain

__all__ = ["app", "main"]

app = typer.Typer(
    name="platemill",
    help="A nightly mill for archived photos: every number plate, precomputed and looked up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    epilog="Exit codes: 0 done, 2 wrong usage or configuration, 3 a check failed and nothing was "
    "published, 4 a retryable failure.",
)
app.command()(run)
app.command()(schedule)
app.command()(backfill)
app.command()(plan)
app.command()(sql)
app.command()(lookup)
app.command()(training_set)
app.command()(catalog)
app.command()(status)
app.command()(report)
app.command()(generations)
app.command()(rollback)
app.command()(vacuum)
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(triton_app, name="triton")
app.add_typer(profile_app, name="profile")
app.command()(doctor)
app.command()(demo)
app.command()(tune)
app.command()(evaluate)
app.add_typer(train_app, name="train")


def main() -> None:
    """Run the command line and end the process with the error's exit code."""
    try:
        app()
    except Exception as raised:
        error = plain(raised, "the home")
        if not isinstance(error, PlatemillError):
            raise
        stderr.print(f"[bold red]error:[/] {kind_of(error).__name__}:", end=" ")
        stderr.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
