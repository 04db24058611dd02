"""The stages of a night in its journal: when each began and ended, and what failed."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from photo_files import encoded, put
from small_lake import PROJECT, settings_for

from platemill.errors import ArchiveError
from platemill.journal import read_journal
from platemill.launch.stages import Night

STAGES = ["inventory", "plan", "recognise", "facts", "tiles", "checks", "features", "publish"]


def test_every_stage_of_a_night_is_noted_once_and_in_order(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    for second in range(4):
        put(tmp_path / f"photos/gate/2026/03/01/0705{second:02}.jpg", encoded(seed=second))
    program = PROJECT / "tests" / "support" / "fake_night.py"
    night = [sys.executable, str(program), str(settings.home), str(tmp_path / "photos"), "r1"]
    subprocess.run(night, check=True, stdout=subprocess.DEVNULL)
    events = [event for event in read_journal(settings.runs / "r1") if "stage" in event]
    assert [(event["event"], event["stage"]) for event in events] == [("stage", s) for s in STAGES]
    before = dt.datetime.min.replace(tzinfo=dt.UTC)
    for event in events:
        began, ended = (dt.datetime.fromisoformat(event[name]) for name in ("began", "ended"))
        assert before <= began < ended
        assert event["seconds"] == pytest.approx((ended - began).total_seconds(), abs=0.05)
        assert event["attempt"] == 1
        before = ended


def test_a_stage_that_failed_says_why_and_its_next_attempt_is_counted(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    missing = tmp_path / "photos"
    night = Night.new(settings, "r1", [str(missing)], None)
    for again in (night, Night.load(settings, "r1")):
        with pytest.raises(ArchiveError):
            again.inventory()
    put(missing / "gate/2026/03/01/070500.jpg", encoded(seed=1))
    Night.load(settings, "r1").inventory()
    first, second, third = read_journal(settings.runs / "r1")
    assert [event["attempt"] for event in (first, second, third)] == [1, 2, 3]
    assert {first["event"], second["event"]} == {"stage_failed"}
    assert first["error"] == "ArchiveError"
    assert str(missing) in first["text"]
    assert (third["event"], third["stage"]) == ("stage", "inventory")
    assert "error" not in third
