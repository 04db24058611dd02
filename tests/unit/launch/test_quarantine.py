"""What is in quarantine is told as the facts say it, and a retry chooses exactly what was asked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_lake import Photo, at, night, settings_for

from platemill.errors import ConfigurationError
from platemill.launch import quarantine
from platemill.launch.quarantine import list_quarantine, retry_quarantine
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

CONSOLE = Console(stderr=True)
PHOTOS = [
    Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9),)),
    Photo("file:///c1/b.jpg", "c1", at("2026-05-01 11:00"), reason="truncated"),
    Photo("file:///c2/c.jpg", "c2", at("2026-05-01 12:00"), reason="truncated"),
    Photo("file:///c1/d.jpg", "c1", at("2026-05-02 10:00"), reason="truncated"),
    Photo("file:///c1/e.tar", "c1", at("2026-05-02 11:00"), reason="corrupt_archive"),
    Photo("file:///c1/f.jpg", "c1", at("2026-05-02 12:00"), reason="vanished"),
]


def version_of(settings: Settings) -> str:
    return pipeline_version(repository_of(settings))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = settings_for(tmp_path_factory.mktemp("home"))
    night(made, PHOTOS, pipeline=version_of(made))
    return made


def names(found: dict[str, Any]) -> list[str]:
    return [row["uri"].rsplit("/", 1)[-1] for row in found["images"]]


def test_all_of_it_by_day_with_a_line_a_reason(settings: Settings) -> None:
    found = list_quarantine(settings)
    assert found["generation"] == 1
    assert names(found) == ["b.jpg", "c.jpg", "d.jpg", "e.tar", "f.jpg"]
    assert list(found["images"][0]) == [
        "reason",
        "stage",
        "attempts",
        "day",
        "camera_id",
        "uri",
        "detail",
    ]
    assert [(row["reason"], row["images"], row["days"]) for row in found["reasons"]] == [
        ("truncated", 3, 2),
        ("corrupt_archive", 1, 1),
        ("vanished", 1, 1),
    ]
    assert found["reasons"][0]["example"] == "file:///c1/b.jpg"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"day": date(2026, 5, 1)}, ["b.jpg", "c.jpg"]),
        ({"reason": "vanished"}, ["f.jpg"]),
        ({"uri": "file:///c2/c.jpg"}, ["c.jpg"]),
        ({"day": date(2026, 5, 2), "reason": "truncated"}, ["d.jpg"]),
        ({"day": date(2026, 5, 3)}, []),
    ],
)
def test_a_part_of_it(settings: Settings, chosen: dict[str, Any], expected: list[str]) -> None:
    assert names(list_quarantine(settings, **chosen)) == expected


def test_before_the_first_night_nothing_is_in_quarantine(tmp_path: Path) -> None:
    empty = settings_for(tmp_path)
    assert list_quarantine(empty) == {"generation": None, "reasons": [], "images": []}
    assert retry_quarantine(empty, console=CONSOLE)["chosen"] == 0


def test_rows_of_another_pipeline_are_not_told(settings: Settings, tmp_path: Path) -> None:
    made = settings_for(tmp_path)
    night(made, PHOTOS, "r1", "older")
    night(made, PHOTOS[:2], "r2", "newer")
    assert names(list_quarantine(made)) == ["b.jpg"]


def test_a_dry_run_says_what_a_retry_would_do_and_what_it_cannot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(quarantine, "run_night")
    dry = retry_quarantine(settings, console=CONSOLE, day=date(2026, 5, 2), dry_run=True)
    assert (dry["chosen"], dry["left_out"], dry["night"]) == (2, 1, None)
    assert [row["reason"] for row in dry["reasons"]] == ["truncated", "vanished"]


def test_a_retry_is_a_night_over_exactly_the_chosen(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def run_night(given: Settings, archives: object, days: object, **more: Any) -> dict[str, int]:
        asked.append((archives, days, more["retry"]))
        return {"generation": 2}

    monkeypatch.setattr(quarantine, "run_night", run_night)
    done = retry_quarantine(settings, console=CONSOLE, reason="truncated")
    assert asked == [
        ([], None, [f"file:///{name}" for name in ("c1/b.jpg", "c2/c.jpg", "c1/d.jpg")])
    ]
    assert (done["chosen"], done["night"]) == (3, {"generation": 2})
    assert retry_quarantine(settings, console=CONSOLE, reason="nothing")["night"] is None
    assert len(asked) == 1


def test_a_retry_under_other_networks_is_refused(tmp_path: Path) -> None:
    made = settings_for(tmp_path)
    night(made, PHOTOS, pipeline="another")
    with pytest.raises(ConfigurationError, match="run a whole night"):
        retry_quarantine(made, console=CONSOLE)
