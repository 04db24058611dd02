"""The backfill flow under real Prefect: its parts are real processes without a recogniser."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from photo_files import encoded, put
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.testing.utilities import prefect_test_harness
from small_lake import PROJECT

from flows import backfill as edge
from flows import progress_page
from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.launch import stages
from platemill.launch.backfill import newest_backfill, prepare
from platemill.launch.backfill_parts import run_parts
from platemill.launch.night import new_run_id
from platemill.launch.run_state import standing
from platemill.launch.stages import Night
from platemill.settings import load_settings
from platemill.warehouse.query import run_sql


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def parts_without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    support = PROJECT / "tests" / "support"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (PROJECT / "src", support))))
    monkeypatch.setattr(stages, "pipeline_version", lambda _: "p1")
    monkeypatch.setattr(edge, "shared_cluster", lambda *_: nullcontext({}))
    monkeypatch.setattr(edge, "run_parts", functools.partial(run_parts, module="fake_part"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home, and photos of four days beside it."""
    for day in range(1, 5):
        for second in range(3):
            photo = tmp_path / f"photos/gate/2026/03/0{day}/0705{second:02}.jpg"
            put(photo, encoded(seed=10 * day + second))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(home: Path, end: str = "2026-03-04", parallel: int = 2) -> dict[str, Any]:
    photos = [str(home.with_name("photos"))]
    answer: dict[str, Any] = edge.backfill(str(home), photos, "2026-03-01", end, parallel)
    return answer


def fate(home: Path, part: int, what: str) -> None:
    (home / f"part-{part}").write_text(what)


def days_of(home: Path) -> list[str]:
    rows = run_sql(load_settings(home=home), "SELECT DISTINCT day FROM images ORDER BY day")
    return [str(row["day"]) for row in rows.to_pylist()]


def states(home: Path) -> list[str]:
    newest = newest_backfill(home / "runs")
    assert newest is not None
    return [row["state"] for row in newest.rows(home / "runs")]


def test_days_are_published_part_by_part(home: Path) -> None:
    summary = run(home, "2026-03-03")
    assert [(part["days"], part["state"]) for part in summary["parts"]] == [
        (1, "published"),
        (1, "published"),
        (1, "published"),
    ]
    assert summary["images_new"] == 9
    assert days_of(home) == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert standing(home / "runs" / summary["run_id"])["state"] == "published"
    again = run(home)
    assert [part["images"] for part in again["parts"]] == [3]
    assert run(home)["parts"] == []


def test_its_table_is_an_artifact(home: Path) -> None:
    summary = run(home, "2026-03-02")
    with get_client(sync_client=True) as client:
        [newest, *_] = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["backfill"])),
            sort=ArtifactSort.CREATED_DESC,
        )
        [progress, *_] = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["progress-backfill"])),
            sort=ArtifactSort.CREATED_DESC,
        )
    assert newest.description == f"Backfill {summary['run_id']}"
    assert [row["state"] for row in json.loads(str(newest.data))] == ["published", "published"]
    assert progress.data == 100.0


def test_a_table_that_cannot_be_kept_costs_the_backfill_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no API here")

    monkeypatch.setattr(progress_page, "create_table_artifact", fail)
    assert [part["state"] for part in run(home, "2026-03-02")["parts"]] == ["published"] * 2
    assert "no API here" in caplog.text


def test_a_part_that_fails_does_not_stop_the_others(home: Path) -> None:
    fate(home, 1, "fail")
    with pytest.raises(ServerUnavailable, match=r"1 of 2 parts failed; .*-1: Triton does not"):
        run(home)
    assert states(home) == ["failed", "published"]
    assert days_of(home) == ["2026-03-03", "2026-03-04"]
    (home / "part-1").unlink()
    assert [part["images"] for part in run(home)["parts"]] == [3, 3]
    assert len(days_of(home)) == 4


def test_a_wrong_setting_is_not_tried_by_further_parts(home: Path) -> None:
    fate(home, 1, "refuse")
    fate(home, 2, "after the first")
    with pytest.raises(ConfigurationError, match=r"1 of 3 parts failed; .*no such profile"):
        run(home, "2026-03-03")
    assert states(home) == ["failed", "published", "waiting"]


def test_what_ends_the_flow_ends_its_parts(home: Path) -> None:
    for part in (1, 2):
        fate(home, part, "hang")
    settings = load_settings(home=home)
    days = [dt.date(2026, 3, day) for day in range(1, 5)]
    lead = Night.new(settings, new_run_id(), [str(home.with_name("photos"))], frozenset(days))
    lead.inventory()
    lead.plan()
    asked = prepare(lead, days[0], days[-1], 2)

    def interrupt(rows: list[dict[str, Any]]) -> None:
        if [row["state"] for row in rows] == ["running", "running"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_parts(lead, asked, settings, {}, interrupt, "fake_part")
    assert states(home) == ["stopped", "stopped"]
    assert not [one for one in psutil.Process().children() if "fake_part" in one.cmdline()]


def test_days_and_pipeline_are_looked_at_before_anything_starts(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="comes after"):
        edge.backfill(str(home), [], "2026-03-02", "2026-03-01")
    with pytest.raises(ConfigurationError, match="--pipeline-version abc was asked for"):
        edge.backfill(str(home), [], "2026-03-01", "2026-03-01", pipeline_version="abc")
    assert not (home / "runs").exists()
