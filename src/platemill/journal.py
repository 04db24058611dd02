"""The journal of a run: what happened, when and where, a JSON object a line, only ever added to.

``runs/R/journal.jsonl`` is written by the flow and by the job, who add a line in one write each.
What a night took, cost and lost is read from it afterwards.

| event | fields besides ``at`` and ``event`` |
|---|---|
| ``stage``, ``stage_failed`` | ``stage, began, ended, seconds, attempt``, and of a failed one its
| | ``error`` (a class) and ``text`` |
| ``node_up`` | ``node, kind`` (``cpu`` or ``gpu``), ``cpus, gpus`` |
| ``node_down`` | ``node, why`` |
| ``server_ready`` | ``node, seconds`` |
| ``server_lost``, ``worker_lost`` | ``node, why`` |
| ``shard`` | ``key, day, node, worker, began, ended, images, bytes, plates, recognised, no_plate, |
| | quarantined, attempt``: it is recorded |
| ``shard_failed`` | ``key, attempt, why`` |
| ``progress`` | ``images_done, images_total, shards_done, shards_total, plates, quarantined`` |

Times are ISO 8601 in UTC, durations seconds. A machine's clock is its own: ``began`` and ``ended``
of a shard are those of its node.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from pathlib import Path
from typing import Any, Final

from platemill.documents import append_line

__all__ = ["JOURNAL", "Journal", "JournalTail", "read_journal"]

_LOG = logging.getLogger(__name__)

JOURNAL: Final = "journal.jsonl"


class Journal:
    """Adds to a run's journal. Several threads and processes of a machine may write at once.

    Args:
        folder: the run's folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._troubled = False

    def write(self, event: str, **fields: object) -> None:
        """Add a line, with the time now. A journal that cannot be written never ends a night.

        Args:
            event: what happened, a word of the table above.
            fields: what JSON can hold; times and dates become ISO 8601, anything else its text.
        """
        line = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds"), "event": event}
        try:
            append_line(self._path, json.dumps(line | fields, default=_plain).encode())
        except OSError as error:
            if not self._troubled:
                self._troubled = True
                _LOG.warning("the journal %s cannot be written: %s", self._path, error)


class JournalTail:
    """Reads a journal as it grows.

    Args:
        folder: the run's folder; the journal need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._read = 0

    def new(self) -> list[dict[str, Any]]:
        """The events since the last call; a line that is not whole yet waits for the next."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines, end, _torn = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._read += len(lines) + len(end)
        return _events(lines)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """What a run's journal says, in the order of writing.

    Lines that are no events are passed over: the last one may be half written, now or for ever.

    Args:
        folder: the run's folder.

    Returns:
        An object a line; none if there is no journal.
    """
    try:
        written = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return []
    return _events(written)


def _events(lines: bytes) -> list[dict[str, Any]]:
    found = []
    for line in lines.split(b"\n"):
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and "event" in said and "at" in said:
            found.append(said)
    return found


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    return value.isoformat() if isinstance(value, dt.date) else str(value)
