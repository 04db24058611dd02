"""What `platemill doctor` says about a machine that lacks something."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platemill.cli import app
from platemill.serving import diagnosis
from platemill.serving.diagnosis import diagnose
from platemill.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project without a second environment, without models and with pins of its own."""
    pins = tmp_path / "infra" / "constraints"
    pins.mkdir(parents=True)
    (pins / "main.txt").write_text("duckdb==0.0.1\nNumPy==9.9\n")
    return Settings(home=tmp_path, project=tmp_path)


def findings(settings: Settings) -> dict[str, diagnosis.Finding]:
    return {finding.what: finding for finding in diagnose(settings)}


def test_a_version_that_is_not_the_pinned_one_is_to_be_mended(settings: Settings) -> None:
    found = findings(settings)
    assert not found["duckdb in the main environment"].ok
    assert "pinned is 0.0.1" in found["duckdb in the main environment"].seen
    assert not found["numpy in the main environment"].ok, "names are compared as pip does"
    assert found["pyarrow in the main environment"].ok


def test_a_missing_environment_and_missing_models_have_cures(settings: Settings) -> None:
    found = findings(settings)
    assert "make setup" in found["Triton's Python"].cure
    assert "PLATEMILL_TRITON_MODELS" in found["models and weights"].cure


def test_little_shared_memory_names_docker_s_option(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diagnosis, "_SHM_BYTES", 1 << 60)
    monkeypatch.setattr(diagnosis, "SHM", tmp_path)
    finding = findings(settings)[f"room in {tmp_path}"]
    assert not finding.ok
    assert "--shm-size" in finding.cure


def test_doctor_ends_with_2_and_says_what_is_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATEMILL_PROJECT", str(settings.project))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 2
    assert "missing Triton's Python" in done.stdout
    assert "cure: build Triton's environment with `make setup`" in done.stdout


def test_doctor_s_json_is_one_object(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATEMILL_PROJECT", str(settings.project))
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert {"what", "ok", "seen", "cure"} == set(told["checks"][0])


def test_on_the_machine_that_runs_the_tests_everything_is_there() -> None:
    missing = [finding for finding in diagnose(Settings(home=".")) if not finding.ok]
    assert missing == []
