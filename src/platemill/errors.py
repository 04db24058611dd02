"""The errors that platemill raises, with the exit code that each ends a command with.

::

    PlatemillError
    ├── ConfigurationError      2  wrong usage, settings or environment
    │   └── ArchiveError        2  an archive that was named cannot be opened
    ├── CheckFailed             3  a check failed, nothing was published
    ├── RetryableError          4  the same call may succeed later
    │   ├── DiskFull            4  there is no room left where it has to write
    │   ├── FlowLost            4  the flow that a job works for is gone
    │   ├── GenerationConflict  4  another run published first; rebase on what it published
    │   ├── LeaseHeld           4  another run works on the same day and was not waited for
    │   ├── LeaseLost           4  another run took over; this one may not commit any more
    │   ├── ServerUnavailable   4  Triton, Ray or a store does not answer
    │   │   └── ServerHangs     4  it took a request and gave no answer in the time it has
    │   ├── ShardsIncomplete    4  a job ended before all of its shards were committed
    │   └── StageTimeout        4  a stage took longer than it may and was stopped
    ├── ImageRejected           –  one image cannot be used; it becomes a quarantined row
    ├── InferenceFailed         –  a model failed on one image; it is tried again, then quarantined
    └── FeatureUnreadable       1  bytes in the online store that are no value of their feature

A final error is never retried; a retryable one may be. All of them survive pickling, since Ray
carries them between processes: an error's arguments are exactly its constructor's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "ArchiveError",
    "CheckFailed",
    "ConfigurationError",
    "DiskFull",
    "FeatureUnreadable",
    "FlowLost",
    "GenerationConflict",
    "ImageRejected",
    "InferenceFailed",
    "LeaseHeld",
    "LeaseLost",
    "PlatemillError",
    "RetryableError",
    "ServerHangs",
    "ServerUnavailable",
    "ShardsIncomplete",
    "StageTimeout",
    "error_from_record",
    "error_record",
    "kind_of",
]


class PlatemillError(Exception):
    """Base of every error that platemill raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(PlatemillError):
    """Wrong usage, settings or environment: the text says what to change."""

    exit_code = 2


class ArchiveError(ConfigurationError):
    """An archive that was named on the command line cannot be opened at all."""


class CheckFailed(PlatemillError):
    """A check failed before publishing; readers still see the generation before."""

    exit_code = 3


class RetryableError(PlatemillError):
    """The same call may succeed later; what was done so far is kept."""

    exit_code = 4


class DiskFull(RetryableError):
    """There is no room left where something has to be written; trying again at once is useless."""


class FlowLost(RetryableError):
    """The flow that a Ray job works for is gone or silent, so the job has ended itself."""


class GenerationConflict(RetryableError):
    """Another run published the generation first; nothing of this one is visible yet."""


class LeaseHeld(RetryableError):
    """Another run works on what this one needs, and was not waited for, or for too long."""


class LeaseLost(RetryableError):
    """This run was silent for too long and another took over: it may record and commit nothing.

    Only a new run may try again; a stage of this one is never repeated.
    """


class ServerUnavailable(RetryableError):
    """Triton, Ray or a store does not answer."""


class ServerHangs(ServerUnavailable):
    """A server took a request and gave no answer; it has to be started again."""


class ShardsIncomplete(RetryableError):
    """A recognition job ended before all of its shards were committed."""


class StageTimeout(RetryableError):
    """A stage took longer than it may and was stopped; what it had recorded is kept."""


class ImageRejected(PlatemillError):
    """One image cannot be used. It becomes a quarantined row, never a silent gap.

    Args:
        reason: a short stable word for the ``images.reason`` column, ``truncated`` say.
        detail: what was seen, for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class InferenceFailed(PlatemillError):
    """A model failed on one image while its server is well."""


class FeatureUnreadable(PlatemillError):
    """The online store holds bytes that are no value of their feature's type."""


def error_record(error: BaseException) -> dict[str, str]:
    """Return an error as a process leaves it in a file for the one that started it."""
    return {"error": kind_of(error).__name__, "text": str(error)}


def kind_of(error: BaseException) -> type[BaseException]:
    """The class that an error is known by: the nearest that is ours, or its own."""
    kinds = type(error).__mro__
    return next((kind for kind in kinds if kind.__module__ == __name__), kinds[0])


def error_from_record(record: Mapping[str, str]) -> PlatemillError:
    """Rebuild an error from its record; one that is not ours becomes a plain PlatemillError."""
    kinds = [PlatemillError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    for kind in kinds:
        if kind.__name__ == record["error"]:
            return kind(record["text"])
    return PlatemillError(f"{record['error']}: {record['text']}")
