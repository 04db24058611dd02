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
import os
from pathlib import Path
from typing import Any, Final

__all__ = ["JOURNAL", "Journal", "read_journal"]

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
            self._append(json.dumps(line | fields, default=_plain).encode() + b"\n")
        except OSError as error:
            if not self._troubled:
                self._troubled = True
                _LOG.warning("the journal %s cannot be written: %s", self._path, error)

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                # Whoever wrote last was cut off. What it left must not spoil this line.
                line = b"\n" + line
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


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
    found = []
    for line in written.split(b"\n"):
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
