"""Recognise a run's plan: as a Ray job, on the cluster that the settings choose."""

from __future__ import annotations

from collections.abc import Callable

from platemill.launch.clusters import Cluster, Job, open_cluster
from platemill.launch.records import JobProgress
from platemill.settings import Settings

__all__ = ["recognition_job", "run_recognition"]


def recognition_job(settings: Settings, run_id: str) -> Job:
    """The job that recognises a run's plan. The settings travel to it as variables."""
    return Job(
        name=f"platemill-{run_id}",
        command=(
            *("-m", "ray_jobs.recognize"),
            *("--home", str(settings.home)),
            *("--run-id", run_id),
        ),
        variables={**settings.environment(), "PYTHONPATH": settings.python_path},
        folder=settings.runs / run_id,
    )


def run_recognition(
    settings: Settings,
    run_id: str,
    on_progress: Callable[[JobProgress], None] | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Recognise a run's plan.

    Args:
        settings: the deployment's settings.
        run_id: the run, whose folder holds the plan.
        on_progress: called with the job's progress whenever it changes.
        cluster: one that was launched already; it is stopped at the end. Default: the settings'.

    Raises:
        RetryableError: shards are missing, or a server did not answer; what is recorded is kept.
        ConfigurationError: the job cannot run with these settings.
    """
    with cluster or open_cluster(settings, run_id) as opened:
        opened.run(recognition_job(settings, run_id), on_progress)
