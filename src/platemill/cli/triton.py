"""``platemill triton up|status|down``: the embedded server by itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from platemill.cli.output import (
    HomeOption,
    JsonOption,
    ProfileOption,
    print_json,
    print_table,
    stderr,
    stdout,
)
from platemill.errors import ConfigurationError, RetryableError, ServerUnavailable
from platemill.serving.embedded import EmbeddedTriton, RunningServer, running_server
from platemill.serving.repository import repository_of
from platemill.settings import Settings, load_settings

__all__ = ["triton_app"]

triton_app = typer.Typer(
    help="The embedded Triton server by itself: the four models on loopback, for trials and tools.",
    no_args_is_help=True,
)

ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of each model; default: one."),
]


@triton_app.command()
def up(
    home: HomeOption,
    profile: ProfileOption = None,
    json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Start the server and wait until every model is ready; fine if it runs already.

    It stays until `platemill triton down`. Its addresses are printed; its log is in HOME/triton.

        platemill triton up --home ./home
    """
    settings = load_settings(home=home, profile=profile)
    folder = _folder(settings)
    models = repository_of(settings)
    with _one_at_a_time(folder):
        server = running_server(folder)
        if server is None:
            stderr.print("starting Triton; this takes some seconds")
            triton = EmbeddedTriton.of(settings, models, folder, detached=True, threads=threads)
            triton.start()
            server = triton.server
        elif server.models_folder != str(models.absolute()):
            raise ConfigurationError(
                f"the server that runs already serves {server.models_folder}, not {models}: end it "
                f"with `platemill triton down --home {folder.parent}`"
            )
    _show(server, json)


@triton_app.command()
def status(home: HomeOption, json: JsonOption = False) -> None:
    """Show the server's addresses and the state of its models; exit code 4 if it is not up."""
    folder = _folder(load_settings(home=home))
    server = running_server(folder)
    if server is None:
        raise ServerUnavailable(
            f"no Triton server runs for {folder.parent}: start it with "
            f"`platemill triton up --home {folder.parent}`"
        )
    _show(server, json)


@triton_app.command()
def down(home: HomeOption, json: JsonOption = False) -> None:
    """End the server with its processes and shared memory; fine if it does not run."""
    folder = _folder(load_settings(home=home))
    stopped = False
    if folder.is_dir():
        with _one_at_a_time(folder):
            if (server := running_server(folder)) is not None:
                server.stop()
                stopped = True
    if json:
        print_json({"stopped": stopped})
    else:
        stderr.print("Triton is stopped" if stopped else "no Triton server was running")


def _folder(settings: Settings) -> Path:
    return settings.home / "triton"


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _show(server: RunningServer, json: bool) -> None:
    models = server.models()
    if not models:
        raise ServerUnavailable(
            f"Triton at {server.http} does not answer: see {server.log}, or end it with "
            "`platemill triton down`"
        )
    rows: list[dict[str, Any]] = [
        {"name": model.name, "version": model.version, "state": model.state} for model in models
    ]
    if json:
        print_json({"http": server.http, "grpc": server.grpc, "models": rows})
    else:
        stdout.print(f"HTTP {server.http}\ngRPC {server.grpc}", highlight=False)
        print_table(("model", "version", "state"), [tuple(row.values()) for row in rows])
    if any(model.state != "READY" for model in models):
        raise RetryableError("not every model is ready: try again in a moment")
