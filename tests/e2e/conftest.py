"""One real Triton server over the project's models, shared by all tests that only ask it."""

from collections.abc import Iterator

import pytest

from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    """The four models on loopback."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with EmbeddedTriton(
        settings.models,
        settings.triton_interpreter,
        settings.home / "triton",
        settings.triton_start_seconds,
    ) as server:
        yield server
