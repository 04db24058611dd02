"""The flow's page of a night: written and linked, well or not, and never the end of a night."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from costed_nights import CostedNights
from pages_read import read_page
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.testing.utilities import prefect_test_harness
from reported_nights import reported_nights

from flows import night_page
from flows.nightly import nightly
from platemill.errors import ConfigurationError
from platemill.launch import stages


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CostedNights]:
    monkeypatch.setenv("PLATEMILL_ERROR_BUDGET", "1.0")
    with reported_nights(tmp_path / "home") as found:
        yield found


def run(nights: CostedNights, run_id: str) -> dict[str, Any]:
    archives = [str(nights.archive)]
    said: dict[str, Any] = nightly(home=str(nights.settings.home), archives=archives, run_id=run_id)
    return said


def artifact(key: str) -> str:
    """What the newest artifact of that key says."""
    with get_client(sync_client=True) as client:
        [found, *_] = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
            sort=ArtifactSort.CREATED_DESC,
        )
    return str(found.data)


def test_a_night_ends_with_its_page_and_a_link_to_it(
    nights: CostedNights, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(nights, "r1")["generation"] == 1
    path = nights.settings.runs / "r1/report.html"
    text = read_page(path).text
    assert "Published as generation 1" in text
    assert "confidence 0.500" in text
    assert f"[The page of the night]({path.as_uri()})" in artifact("night")
    assert "| generation | 1 |" in artifact("night")
    assert path.as_uri() in artifact("night-page")
    assert f"the night's page is {path}" in caplog.text
    # A night with nothing new has one, too.
    assert run(nights, "r2")["images_new"] == 0
    assert "nothing new" in read_page(nights.settings.runs / "r2/report.html").text


def test_a_night_that_fails_has_its_page_with_the_error(
    nights: CostedNights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("no such profile; name one that is there")

    monkeypatch.setattr(stages, "run_recognition", fail)
    monkeypatch.setenv("PLATEMILL_REPORT_URL", "https://nights.example.org/runs/")
    monkeypatch.setenv("PLATEMILL_REPORT_PHOTOS", "0")
    with pytest.raises(ConfigurationError, match="no such profile"):
        run(nights, "r1")
    text = read_page(nights.settings.runs / "r1/report.html").text
    assert "It failed with ConfigurationError" in text
    assert "no such profile; name one that is there" in text
    assert "It holds no photo" in text
    link = "https://nights.example.org/runs/r1/report.html"
    assert link in artifact("night-page")
    assert "Night r1 failed" in artifact("night") and link in artifact("night")


@pytest.mark.parametrize("trouble", ["refused", "slow", "no room"])
def test_a_page_that_cannot_be_made_is_a_warning(
    nights: CostedNights,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    def fail(*_: object, **_given: object) -> Any:
        raise OSError("no room")

    if trouble == "refused":
        monkeypatch.setattr(night_page.sys, "executable", "/bin/false")
    elif trouble == "slow":
        monkeypatch.setattr(night_page, "_MOST_SECONDS", 0.01)
    else:
        monkeypatch.setattr(subprocess, "run", fail)
    assert run(nights, "r1")["generation"] == 1
    assert "platemill report --run r1" in caplog.text
    assert "| generation | 1 |" in artifact("night")
    assert "The page of the night" not in artifact("night")


def test_a_link_that_cannot_be_kept_is_a_warning(
    nights: CostedNights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **_given: object) -> None:
        raise ConnectionError("no API here")

    monkeypatch.setattr(night_page, "create_link_artifact", fail)
    assert run(nights, "r1")["generation"] == 1
    assert "is not linked: no API here" in caplog.text
    assert (nights.settings.runs / "r1/report.html").exists()


def test_a_night_that_is_told_to_end_makes_no_page(
    nights: CostedNights, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(night_page, "_page", lambda *_: made.append(1))
    with pytest.raises(SystemExit), night_page.page_of_failure(nights.settings, Path("r1")):
        raise SystemExit(143)
    assert made == []
