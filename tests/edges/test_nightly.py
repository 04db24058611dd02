"""The flow's order and retries, under real Prefect, with a night that fails on purpose."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.testing.utilities import prefect_test_harness

from flows import night_page, progress_page
from flows import nightly as edge
from platemill.errors import (
    CheckFailed,
    ConfigurationError,
    GenerationConflict,
    PlatemillError,
    ServerUnavailable,
    StageTimeout,
)
from platemill.features.write import OnlineProgress
from platemill.launch import retries
from platemill.launch.records import JobProgress

STAGES = ["recognise", "facts", "tiles", "checks", "features", "publish"]


def found(check: str, severity: str, failed: int) -> dict[str, Any]:
    return {
        "table_name": "camera_day_v1",
        "check_name": check,
        "severity": severity,
        "failed": failed,
        "value": 0.3,
        "detail": "c1",
    }


class FailingNight:
    """A night that does nothing but note its stages, and fails where it is told to."""

    def __init__(
        self, failures: dict[str, list[PlatemillError]], limits: dict[str, float] | None = None
    ) -> None:
        self.failures = failures
        self.limits = limits or {}
        self.called: list[str] = []
        self.run_id = "r1"
        self.folder = Path()

    def seconds_for(self, stage: str) -> float | None:
        return self.limits.get(stage)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers = {
            "inventory": SimpleNamespace(seen=3),
            "plan": 3,
            "has_work": True,
            "facts": [],
            "checks": [found("keys_unique", "block", 0), found("confidence_drift", "warn", 2)],
            "checked": [found("confidence_drift", "warn", 0), found("conservation", "block", 1)],
            "publish": 7,
            "finish": {"run_id": "r1", "generation": 7, "seconds": {"total": 1.0}},
        }

        def stage(*_: object) -> Any:
            self.called.append(name)
            if self.failures.get(name):
                raise self.failures[name].pop(0)
            return answers.get(name, {})

        return stage

    @contextlib.contextmanager
    def holding(self, _log: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def publishing(self, _log: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        yield


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[FailingNight], Any]:
    monkeypatch.setattr(retries, "_wait", lambda _seconds: None)
    # Of a night that is none there is no page.
    monkeypatch.setattr(night_page, "_page", lambda *_: {"out": "nowhere", "notes": []})

    def run_flow(night: FailingNight) -> Any:
        night.folder = tmp_path
        monkeypatch.setattr(edge.Night, "new", lambda *_, **_given: night)
        return edge.nightly(home=str(tmp_path), archives=["/somewhere"])

    return run_flow


class ShowingNight(FailingNight):
    """A night that shows how far it is."""

    def recognise(self, progress: Callable[[JobProgress], None]) -> dict[str, int]:
        self.called.append("recognise")
        for done in range(0, 251, 50):
            progress(JobProgress(images_done=done, images_total=250, plates=done))
            time.sleep(0.1)
        return {}

    def features(self, progress: Callable[[OnlineProgress], None]) -> dict[str, int]:
        self.called.append("features")
        progress(OnlineProgress("camera_day", 30, 120))
        return {}


def newest_artifact(key: str) -> Artifact:
    """The newest artifact of that key, as Prefect's server has it."""
    with get_client(sync_client=True) as client:
        [artifact, *_] = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
            sort=ArtifactSort.CREATED_DESC,
        )
    return artifact


def test_progress_is_an_artifact_with_its_rate_and_the_time_left(
    run: Callable[[FailingNight], Any],
) -> None:
    run(ShowingNight({}))
    recognised, online = map(newest_artifact, ("progress-recognise", "progress-features"))
    assert (recognised.type, recognised.data) == ("progress", 100.0)
    assert re.fullmatch(
        r"recognise: 250 plates, 0 quarantined, 250 of 250 images, [0-9.,]+ images/s, 0:00:00 left",
        recognised.description or "",
    )
    assert recognised.task_run_id is not None
    assert (online.data, online.description) == (25.0, "features: camera_day, 30 of 120 rows")


def test_stderr_can_be_json_line_by_line(
    run: Callable[[FailingNight], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PLATEMILL_LOG_FORMAT", "json")
    run(ShowingNight({}))
    shown = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    progress = [line for line in shown if line.get("stage") == "recognise"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (250, 250)
    (published,) = [line for line in shown if line["message"] == "generation 7 is published"]
    assert published["run_id"] == "r1"
    assert published["flow_name"] == "nightly"


@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_an_artifact_that_cannot_be_kept_costs_the_night_nothing(
    run: Callable[[FailingNight], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    answered = threading.Event()

    def fail(*_: object) -> None:
        if trouble == "silent":
            answered.wait(60)
        raise ConnectionError("no API here")

    monkeypatch.setattr(progress_page, "create_progress_artifact", fail)
    monkeypatch.setattr(progress_page, "_LAST_SECONDS", 0.5)
    night = ShowingNight({})
    assert run(night)["generation"] == 7
    assert ("no API here" in caplog.text) == (trouble == "refused")
    answered.set()
    assert stages(night) == STAGES


def stages(night: FailingNight) -> list[str]:
    return [name for name in night.called if name in STAGES]


def test_stages_run_in_order(run: Callable[[FailingNight], Any]) -> None:
    night = FailingNight({})
    assert run(night)["generation"] == 7
    assert stages(night) == STAGES


def shown_checks() -> Any:
    """Checks and results of the newest table that the flow made, in its order."""
    with get_client(sync_client=True) as client:
        [artifact, *_] = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["checks"])),
            sort=ArtifactSort.CREATED_DESC,
        )
    rows = json.loads(artifact.data)
    return [(row["check_name"], row["result"]) for row in rows]


def test_checks_are_shown_the_worst_first(
    run: Callable[[FailingNight], Any], caplog: pytest.LogCaptureFixture
) -> None:
    run(FailingNight({}))
    assert shown_checks() == [("confidence_drift", "warning"), ("keys_unique", "ok")]
    assert "check confidence_drift of camera_day_v1: 2, c1" in caplog.text


def test_a_server_that_does_not_answer_is_asked_again(run: Callable[[FailingNight], Any]) -> None:
    night = FailingNight({"recognise": [ServerUnavailable("once"), ServerUnavailable("twice")]})
    run(night)
    assert stages(night) == ["recognise", "recognise", *STAGES]


def test_a_wrong_setting_is_never_tried_again(run: Callable[[FailingNight], Any]) -> None:
    night = FailingNight({"recognise": [ConfigurationError("no such profile")]})
    with pytest.raises(ConfigurationError):
        run(night)
    assert stages(night) == ["recognise"]


def test_a_server_that_never_answers_is_given_up(run: Callable[[FailingNight], Any]) -> None:
    night = FailingNight({"recognise": [ServerUnavailable("down")] * 9})
    with pytest.raises(ServerUnavailable):
        run(night)
    assert stages(night) == ["recognise"] * 4


def test_a_stage_that_takes_too_long_is_stopped_and_not_tried_again(
    run: Callable[[FailingNight], Any],
) -> None:
    night = FailingNight({}, limits={"tiles": 0.3})

    def tiles() -> None:
        night.called.append("tiles")
        while True:
            time.sleep(0.01)

    night.__dict__["tiles"] = tiles
    with pytest.raises(StageTimeout, match=r"stage tiles took longer than 0\.3 s"):
        run(night)
    assert stages(night) == ["recognise", "facts", "tiles"]


def test_a_failed_check_stops_before_publishing(run: Callable[[FailingNight], Any]) -> None:
    night = FailingNight({"checks": [CheckFailed("conservation")]})
    with pytest.raises(CheckFailed, match="conservation"):
        run(night)
    assert stages(night) == STAGES[: STAGES.index("checks") + 1]
    assert shown_checks() == [("conservation", "stopped the night"), ("confidence_drift", "ok")]


def test_a_day_over_its_error_budget_stops_before_the_facts(
    run: Callable[[FailingNight], Any],
) -> None:
    night = FailingNight({"budget": [CheckFailed("a day is over its error budget")]})
    with pytest.raises(CheckFailed, match="error budget"):
        run(night)
    assert stages(night) == ["recognise"]
    assert night.called.count("budget") == 1


def test_a_lost_publication_begins_again_from_the_facts(
    run: Callable[[FailingNight], Any],
) -> None:
    night = FailingNight({"publish": [GenerationConflict("another run was first")]})
    run(night)
    assert stages(night) == [*STAGES, *STAGES[STAGES.index("facts") :]]


def test_a_publication_that_is_always_lost_ends_retryable(
    run: Callable[[FailingNight], Any],
) -> None:
    night = FailingNight({"publish": [GenerationConflict("again")] * 9})
    with pytest.raises(GenerationConflict):
        run(night)
    assert night.called.count("publish") == 3
