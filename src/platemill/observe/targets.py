"""Where Prometheus finds what runs now: ``HOME/metrics/targets/NAME.json``, one file a server.

They are in the form of Prometheus' discovery by file. Every server has a file of its own, so that
runs that overlap do not write over one another; whoever was killed leaves his, and the next one
who comes takes it away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Final

from platemill.documents import write_json
from platemill.processes import ProcessIdentity
from platemill.settings import Settings

__all__ = ["published_target", "sweep_targets"]

_FOLDER: Final = "targets"
# Prometheus drops labels that begin so before it stores anything.
_OWNER: Final = "__platemill_owner"


@contextmanager
def published_target(
    settings: Settings, name: str, address: str, part: str, **labels: str
) -> Iterator[None]:
    """Let Prometheus find a server inside. That it cannot be written is no error.

    Args:
        settings: the deployment's.
        name: a name that no other server of the home has at this time.
        address: ``host:port``; the metrics are at ``/metrics`` there.
        part: what it is, ``run`` or ``triton``: one of the labels.
        labels: of everything that is scraped from it.
    """
    path = settings.metrics / _FOLDER / f"{name}.json"
    said = {"part": part, **labels, _OWNER: json.dumps(asdict(ProcessIdentity.own()))}
    with suppress(OSError):
        sweep_targets(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [{"targets": [address], "labels": said}])
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sweep_targets(settings: Settings) -> None:
    """Remove what processes of this machine left that are gone."""
    for path in (settings.metrics / _FOLDER).glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError, IndexError):
            owner = json.loads(path.read_text())[0]["labels"][_OWNER]
            if ProcessIdentity(**json.loads(owner)).is_gone():
                path.unlink(missing_ok=True)
