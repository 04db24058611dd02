"""What a night needs of a cluster: start early, run one job to its end, be gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from platemill.launch.records import JobProgress

__all__ = ["Cluster", "Job"]


@dataclass(frozen=True)
class Job:
    """A program for a cluster.

    Attributes:
        name: the same for the same work, so that what a dead caller left is found again.
        command: what the cluster's Python is given: ``-m``, a module and its arguments.
        variables: the program's environment.
        folder: the run's folder. The program writes ``progress.json`` and ``job.json`` there, and
            the log is copied to ``recognize.log`` beside them.
    """

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    folder: Path

    @property
    def log(self) -> Path:
        """The copy of the driver's log."""
        return self.folder / "recognize.log"


class Cluster(Protocol):
    """Where a job runs. Entering makes it ready for a job, leaving stops it."""

    def launch(self) -> None:
        """Begin to make it ready, without waiting: other work can be done meanwhile.

        Raises:
            ConfigurationError: it can be seen already that it cannot work.
        """

    def run(self, job: Job, on_progress: Callable[[JobProgress], None] | None = None) -> None:
        """Run a job and return when it has succeeded. A job of its name that is left is ended.

        Args:
            job: what to run.
            on_progress: called with the job's progress whenever it changes.

        Raises:
            PlatemillError: whatever ``job.json`` says the job ended with.
            ShardsIncomplete: the job ended without saying why.
            ServerUnavailable: the cluster does not answer.
            ConfigurationError: another attempt with these settings is useless.
        """

    def stop(self) -> None:
        """End what was started, and nothing else. May be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_why: object) -> None: ...
