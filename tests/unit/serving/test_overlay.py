"""Configs laid over a repository's."""

import shutil
from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.serving.overlay import overlaid
from platemill.serving.repository import config_of, repository_for_a_job, repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

BULK = """
instance_group [ { kind: KIND_CPU count: 5 } ]
parameters { key: "A" value { string_value: "b" } }
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def lay(settings: Settings, model: str, text: str) -> None:
    path = settings.overlay / model / "config.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_an_overlay_the_checkout_s_repository_is_served(settings: Settings) -> None:
    assert repository_of(settings) == settings.models


def test_what_it_says_is_merged_and_all_else_is_as_it_was(settings: Settings) -> None:
    lay(settings, "plate_bulk", BULK)
    repository = repository_of(settings)
    config, before = (config_of(r, "plate_bulk") for r in (repository, settings.models))
    assert config["instance_group"] == [{"kind": "KIND_CPU", "count": 5}]
    assert config["parameters"] == {**before["parameters"], "A": {"string_value": "b"}}
    assert config["input"] == before["input"]
    for path in settings.models.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.parent.name != "plate_bulk":
            copy = repository / path.relative_to(settings.models)
            assert copy.read_bytes() == path.read_bytes()
    assert pipeline_version(repository) == pipeline_version(settings.models)
    assert repository_of(settings) == repository


def test_a_change_of_the_networks_is_another_version_and_another_folder(
    settings: Settings,
) -> None:
    lay(settings, "plate_bulk", BULK)
    first = repository_of(settings)
    lay(settings, "yolo", 'parameters { key: "PRECISION" value { string_value: "fp32" } }')
    second = repository_of(settings)
    assert second != first
    assert pipeline_version(second) != pipeline_version(first)
    assert sorted(path.name for path in second.parent.iterdir()) == sorted(
        (first.name, second.name)
    )


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [("yolo5", "", "has no such model"), ("yolo", "instances: 2", "is no model config")],
)
def test_a_mistake_is_said_with_its_place(
    settings: Settings, model: str, text: str, words: str
) -> None:
    lay(settings, model, text)
    with pytest.raises(ConfigurationError, match=words):
        overlaid(settings.models, settings.overlay, settings.home / "models")
    left = settings.home / "models"
    assert not left.exists() or list(left.iterdir()) == []


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_a_job_s_own_server_has_an_instance_for_every_core(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    repository = repository_for_a_job(settings)
    (group,) = config_of(repository, "plate_bulk")["instance_group"]
    assert group["count"] == cores
    assert pipeline_version(repository) == pipeline_version(settings.models)
    # What was tuned is not touched.
    lay(settings, "plate_bulk", "instance_group [ { count: 3 } ]")
    assert config_of(repository_for_a_job(settings), "plate_bulk")["instance_group"] == [
        {"count": 3}
    ]


def test_a_repository_without_a_model_for_bulk_is_served_as_it_is(
    settings: Settings, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(settings.models, models)
    shutil.rmtree(models / "plate_bulk")
    assert repository_for_a_job(settings.model_copy(update={"triton_models": models})) == models
