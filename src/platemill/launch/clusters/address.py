"""A Ray cluster that is there already; only the job is ours."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Self

from platemill.launch.clusters.base import Job
from platemill.launch.jobs import run_job
from platemill.launch.records import JobProgress

__all__ = ["AddressCluster"]


class AddressCluster:
    """A cluster by the address of its Jobs API.

    Its nodes have to see the home, the archive and the project's folder where this machine does.

    Args:
        address: base URL of the Jobs API, ``http://host:8265``. Ray takes the token that
            opens it from ``RAY_AUTH_TOKEN``, if ``RAY_AUTH_MODE=token`` says so.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Nothing has to be started."""

    def run(self, job: Job, on_progress: Callable[[JobProgress], None] | None = None) -> None:
        """Run a job; see `Cluster.run`."""
        run_job(
            self._address,
            job.variables,
            shlex.join(["python", *job.command]),
            job.name,
            log_path=job.log,
            on_progress=on_progress,
        )

    def stop(self) -> None:
        """Nothing has to be stopped: the cluster is not ours, and the job has ended."""
