"""One lane and one world, shared by the cells that ``make test`` runs."""

from collections.abc import Iterator

import pytest
from chaos.lane import Lane, Prepared


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """A Ray cluster, a Triton over the fake model, and nights that start at once."""
    with Lane(tmp_path_factory.mktemp("lane")) as shared:
        yield shared


@pytest.fixture(scope="session")
def world(lane: Lane) -> Prepared:
    """A world whose undisturbed nights have been."""
    return lane.prepare(1)
