"""The page of a night, written when the night has ended, well or with an error.

It is made in a process of its own, so that whatever happens there, a photo that no decoder survives
or a lake that does not answer, costs a warning and never the night. A night that is told to end
gets none: it has to be quick. ``platemill report`` makes it at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from platemill.launch.records import PAGE
from platemill.settings import Settings

__all__ = ["page_of_failure", "write_page"]

_MOST_SECONDS = 300.0


def write_page(settings: Settings, folder: Path) -> str:
    """Write a run's page and link it; returns the link as Markdown, empty if there is none.

    Args:
        settings: the deployment's settings.
        folder: the run's.
    """
    logger = get_run_logger()
    url = _url(settings, folder)
    try:
        said = _page(settings, folder.name)
    except Exception as error:
        logger.warning(
            "the night has no %s, `platemill report --run %s` tries again: %s",
            *(PAGE, folder.name, error),
        )
        return ""
    logger.info("the night's page is %s", said["out"])
    for note in said["notes"]:
        logger.warning("on the night's page: %s", note)
    try:
        create_link_artifact(url, "The page of the night", key="night-page")
    except Exception as error:
        logger.warning("the night's page is not linked: %s", error)
    return f"\n\n[The page of the night]({url})"


@contextlib.contextmanager
def page_of_failure(settings: Settings, folder: Path) -> Iterator[None]:
    """Write the page if what is done inside fails; the error goes on."""
    try:
        yield
    except Exception as error:
        link = write_page(settings, folder)
        with contextlib.suppress(Exception):
            text = f"# Night {folder.name} failed\n\n{type(error).__name__}: {error}{link}"
            create_markdown_artifact(key="night", markdown=text, description="The night, failed")
        raise


def _url(settings: Settings, folder: Path) -> str:
    """The page's address: where the runs' folder is served, else the file's."""
    if settings.report_url is not None:
        return f"{settings.report_url.rstrip('/')}/{folder.name}/{PAGE}"
    return (folder / PAGE).resolve().as_uri()


def _page(settings: Settings, run_id: str) -> dict[str, Any]:
    """What the command said. Any error: there is no page."""
    command = [sys.executable, "-m", "platemill", "report", "--json"]
    command += ["--home", str(settings.home), "--run", run_id]
    done = subprocess.run(
        command,
        cwd=settings.project,
        env={**os.environ, **settings.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
    )
    if done.returncode:
        words = done.stderr.strip() or f"it ended with exit code {done.returncode}"
        raise RuntimeError(words[-1000:])
    said: dict[str, Any] = json.loads(done.stdout)
    return said
