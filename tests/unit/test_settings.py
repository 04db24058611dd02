"""Settings come from arguments, then the environment, then defaults; mistakes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from platemill.errors import ConfigurationError
from platemill.settings import Settings, load_settings


def test_an_argument_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLATEMILL_WORKERS", "3")
    monkeypatch.setenv("PLATEMILL_HOME", "/elsewhere")
    settings = load_settings(home=tmp_path, layout=None)
    assert (settings.workers, settings.home) == (3, tmp_path)


def test_settings_travel_whole_through_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = load_settings(
        home=tmp_path,
        shard_images=7,
        layout="{camera}/{captured_at:%s}.jpg",
        worker_resources={"GPU": 0.5, "slot": 1},
    )
    for name, value in before.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == before


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLATEMILL_WORKRES", "3")
    with pytest.raises(ConfigurationError, match="PLATEMILL_WORKRES"):
        load_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("workers", 0), ("shard_images", "many"), ("worker_resources", {"GPU": 0})]
)
def test_a_wrong_value_names_the_setting(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load_settings(home=tmp_path, **{name: value})


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 9  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []
