"""Where a night's Ray job runs: a private cluster, one that is there, or one that KubeRay makes.

Everybody else sees ``Cluster`` and asks ``open_cluster`` for the one that the settings choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from platemill.errors import ConfigurationError
from platemill.launch.clusters.address import AddressCluster
from platemill.launch.clusters.base import Cluster, Job
from platemill.launch.clusters.private import private_cluster
from platemill.settings import Settings

__all__ = ["Cluster", "Job", "open_cluster", "shared_cluster"]


def open_cluster(settings: Settings, run_id: str) -> Cluster:
    """The cluster of a run as the settings choose it, with nothing started yet.

    Raises:
        ConfigurationError: they choose two.
    """
    if settings.kuberay_template is not None:
        if settings.ray_address is not None:
            raise ConfigurationError(
                "PLATEMILL_RAY_ADDRESS and PLATEMILL_KUBERAY_TEMPLATE choose two clusters: leave "
                "one of them out"
            )
        from platemill.launch.clusters.kuberay import KubeRayCluster

        return KubeRayCluster(settings, run_id)
    if settings.ray_address is not None:
        return AddressCluster(settings.ray_address)
    return private_cluster(settings, run_id)


@contextmanager
def shared_cluster(settings: Settings, run_id: str, jobs: int) -> Iterator[dict[str, str]]:
    """One cluster for several runs; yields the variables by which these find it.

    Only a private one has to be started for them, and is stopped afterwards. Of the others each run
    finds its own way: the address is the same, and KubeRay makes a cluster for each job.

    Args:
        settings: the deployment's settings.
        run_id: the run that leads the others; its folder gets the cluster's logs.
        jobs: how many run at once.

    Raises:
        ServerUnavailable: the cluster does not start.
    """
    if settings.ray_address is not None or settings.kuberay_template is not None:
        yield {}
        return
    with private_cluster(settings, run_id, jobs) as cluster:
        access = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
        variables = {name: cluster.environment[name] for name in access}
        yield {**variables, "PLATEMILL_RAY_ADDRESS": cluster.jobs_address}
