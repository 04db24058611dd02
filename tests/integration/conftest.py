from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from platemill.launch.clusters.private import PrivateCluster

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """One private Ray cluster for all tests that only use it."""
    with PrivateCluster(tmp_path_factory.mktemp("ray"), 180, cwd=PROJECT) as private:
        yield private
        members = psutil.Process(private.keeper_pid).children(recursive=True)
        assert len(members) > 5
    left = [member for member in members if member.is_running()]
    assert left == [], "the cluster left processes behind"
