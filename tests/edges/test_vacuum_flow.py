"""The vacuum as a flow, under real Prefect, over a real lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness
from small_lake import Photo, at, later, night, settings_for

from flows.vacuum import vacuum
from platemill.errors import ConfigurationError
from platemill.lake import open_lake


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_old_generations_go_and_a_dry_run_only_tells(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    for number in range(4):
        taken = at(f"2026-05-0{number + 1} 10:00")
        night(settings, [Photo(f"file:///{number}", "c1", taken)], f"r{number}", now=later(number))
    lake = open_lake(settings)
    told = vacuum(str(settings.home), keep=2, dry_run=True)
    assert (told["removed"], lake.numbers()) == ([1, 2], [1, 2, 3, 4])
    done = vacuum(str(settings.home), keep=2)
    assert (done["removed"], lake.numbers()) == ([1, 2], [3, 4])
    assert done["bytes"] > 0
    with pytest.raises(ConfigurationError, match="two generations stay at least"):
        vacuum(str(settings.home), keep=1)
