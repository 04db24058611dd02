"""The files in a run's folder: what was asked, how far its job is, how both ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from platemill.documents import write_json
from platemill.errors import PlatemillError, RetryableError, error_from_record, error_record

__all__ = [
    "ERROR",
    "PAGE",
    "REQUEST",
    "STOPPED",
    "SUMMARY",
    "JobProgress",
    "clear_records",
    "read_exit",
    "read_progress",
    "read_tried",
    "write_exit",
    "write_progress",
    "write_tried",
]

REQUEST = "request.json"
"""What the run was asked to do."""

SUMMARY = "summary.json"
"""What it did; it is there when the run ended well."""

ERROR = "error.json"
"""What it failed with."""

STOPPED = "stopped.json"
"""That somebody ended it before its end."""

PAGE = "report.html"
"""The page of it, if one was made."""

_PROGRESS = "progress.json"
_EXIT = "job.json"
_TRIED = "tried.json"


@dataclass(frozen=True)
class JobProgress:
    """How far a job is. Images count when they have a result, shards when they have a record."""

    shards_done: int = 0
    shards_total: int = 0
    images_done: int = 0
    images_total: int = 0
    recognised: int = 0
    no_plate: int = 0
    quarantined: int = 0
    plates: int = 0


def clear_records(folder: Path) -> None:
    """Remove what an attempt before left, so that it is not taken for this one's."""
    for name in (_PROGRESS, _EXIT):
        (folder / name).unlink(missing_ok=True)


def write_progress(folder: Path, progress: JobProgress) -> None:
    """Replace the progress file in one step; a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _PROGRESS, asdict(progress))


def read_progress(folder: Path) -> JobProgress | None:
    """The job's last word on its progress; None before the first."""
    try:
        return JobProgress(**json.loads((folder / _PROGRESS).read_text()))
    except FileNotFoundError:
        return None


def write_tried(folder: Path, tried: Mapping[str, int]) -> None:
    """Say of images, by URI, how often runs that published nothing tried them."""
    write_json(folder / _TRIED, {**read_tried(folder), **tried})


def read_tried(folder: Path) -> dict[str, int]:
    """What ``write_tried`` said; usually nothing."""
    try:
        said: dict[str, int] = json.loads((folder / _TRIED).read_text())
    except FileNotFoundError:
        return {}
    return said


def write_exit(folder: Path, error: BaseException | None) -> None:
    """Record how the job ended; no error means well."""
    if error is None:
        record: dict[str, object] = {"ok": True}
    else:
        retryable = isinstance(error, RetryableError)
        record = {"ok": False, "retryable": retryable, **error_record(error)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _EXIT, record)


def read_exit(folder: Path) -> tuple[bool, PlatemillError | None]:
    """``(recorded, error)``: whether the job recorded its end, and the error it ended with."""
    try:
        record = json.loads((folder / _EXIT).read_text())
    except FileNotFoundError:
        return False, None
    return True, None if record["ok"] else error_from_record(record)
