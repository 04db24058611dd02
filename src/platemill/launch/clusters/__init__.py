"""Where a night's Ray job runs: a private cluster, one that is there, or one that KubeRay makes.

Everybody else sees ``Cluster`` and asks ``open_cluster`` for the one that the settings choose.
"""

from __future__ import annotations

from platemill.errors import ConfigurationError
from platemill.launch.clusters.address import AddressCluster
from platemill.launch.clusters.base import Cluster, Job
from platemill.launch.clusters.private import private_cluster
from platemill.settings import Settings

__all__ = ["Cluster", "Job", "open_cluster"]


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
