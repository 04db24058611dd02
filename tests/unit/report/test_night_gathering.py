"""What is read of a night, whatever became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from costed_nights import CostedNights
from photo_files import encoded
from reported_nights import (
    EVIL_CAMERA,
    crash,
    photo_of,
    reported_nights,
    two_nights,
    unfinished_night,
)
from small_lake import settings_for

from platemill.errors import CheckFailed, ConfigurationError, ServerUnavailable
from platemill.lake import open_lake
from platemill.launch.backfill import prepare
from platemill.launch.heartbeat import Heartbeat
from platemill.launch.stages import Night
from platemill.report import rows
from platemill.report.facts import NightFacts
from platemill.report.gather import gather, newest_run
from platemill.report.models import models_of
from platemill.report.page import render
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.vision.version import PREPOST_VERSION


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[CostedNights]:
    with reported_nights(tmp_path / "home") as found:
        yield found


def look(nights: CostedNights, run_id: str | None = None, photos: int = 24) -> NightFacts:
    return gather(nights.settings, run_id or newest_run(nights.settings), photos=photos)


def test_a_first_night_is_told_from_end_to_end(nights: CostedNights) -> None:
    nights.run()
    facts = look(nights)
    assert (facts.state, facts.generation, facts.failure, facts.notes) == ("published", 1, None, ())
    assert (facts.came.seen, facts.came.images) == (20, 20)
    assert [(row.name, row.images, row.new, row.changed) for row in facts.came.days] == [
        ("2026-03-01", 6, 6, 0),
        ("2026-03-02", 7, 7, 0),
        ("2026-03-03", 7, 7, 0),
    ]
    assert [(row.name, row.images) for row in facts.came.cameras] == [
        ("north", 11),
        (EVIL_CAMERA, 9),
    ]
    assert facts.came.cells[("2026-03-02", "north")] == 4
    size = sum(path.stat().st_size for path in nights.archive.rglob("*.jpg"))
    assert facts.came.bytes == size
    assert facts.came.total("new") == 20
    assert [(row.recognised, row.no_plate, row.quarantined, row.plates) for row in facts.done.days]
    assert facts.done.total("recognised") == 12
    assert facts.done.total("no_plate") == 6
    assert facts.done.total("quarantined") == 2
    assert facts.done.total("plates") == 18
    assert sum(facts.done.confidence) == 18
    assert facts.done.confidence[10] == 18  # the small model is always half sure
    reasons = {one.reason: one for one in facts.done.quarantined}
    assert reasons.keys() == {"not_an_image", "zero_bytes"}
    [(uri, detail)] = reasons["not_an_image"].examples
    assert uri.endswith("070509.jpg") and detail
    assert facts.times is not None and facts.costs is not None
    assert [one.stage for one in facts.times.tries] == [
        *("inventory", "plan", "recognise", "facts", "tiles", "checks", "features", "publish")
    ]
    assert facts.costs["price"] > 0
    assert facts.costs["estimated_price"] is None
    assert len(facts.checks) > 20
    assert {row.result for row in facts.checks} <= {"ok", "warning"}
    assert facts.late.base is None
    assert facts.models.pipeline_version == "p1"
    assert facts.asked.archives == (str(nights.archive),)


def test_photos_come_with_their_boxes_the_least_confident_first(nights: CostedNights) -> None:
    nights.run()
    facts = look(nights, photos=5)
    assert len(facts.photos) == 5
    least = [min(plate.confidence for plate in photo.plates) for photo in facts.photos]
    assert least == sorted(least)
    for photo in facts.photos:
        assert photo.picture.startswith("data:image/jpeg;base64,")
        assert (photo.width, photo.height) == (160, 90)
        assert all(plate.picture.startswith("data:image/jpeg") for plate in photo.plates)
    assert len(look(nights, photos=200).photos) == 12


def test_what_came_late_changed_and_went_is_told_apart(nights: CostedNights) -> None:
    two_nights(nights)
    facts = look(nights)
    assert facts.generation == 2
    days = {row.name: row for row in facts.came.days}
    assert (days["2026-03-01"].new, days["2026-03-01"].changed) == (1, 0)
    assert (days["2026-03-02"].new, days["2026-03-02"].changed) == (0, 1)
    assert days["2026-03-02"].deleted == 1
    assert (days["2026-03-04"].new, days["2026-03-04"].images) == (1, 1)
    late = facts.late
    assert (late.base, late.newest) == (1, date(2026, 3, 3))
    assert [
        (row.day.day, row.arrived, row.deleted, row.before, row.after) for row in late.days
    ] == [
        (2, 1, 1, 7, 7),
        (1, 1, 0, 6, 7),
    ]
    assert all(row.days_late > 0 for row in late.days)
    assert late.remade["camera_day_v1"] == (2, 4)  # what is equal is not told
    assert late.remade["camera_month_v1"] == (1, 1)
    assert facts.costs is not None and facts.costs["estimated_price"] is not None
    assert facts.models.before == "p1"
    # The night before is still told as it was.
    first = look(nights, "r1")
    assert (first.came.images, first.generation, first.late.days) == (20, 1, ())


def test_another_pipeline_makes_no_day_late(nights: CostedNights) -> None:
    nights.run()
    nights.version = "p2"
    nights.run()
    facts = look(nights)
    assert (facts.came.total("again"), facts.came.total("new")) == (20, 0)
    assert facts.late.days == ()
    assert (facts.models.before, facts.models.pipeline_version) == ("p1", "p2")
    assert facts.done.total("plates") == 18


def test_a_night_without_anything_new(nights: CostedNights) -> None:
    nights.run()
    nights.run()
    facts = look(nights)
    assert (facts.state, facts.generation, facts.notes) == ("nothing new", None, ())
    assert (facts.came.seen, facts.came.images, facts.came.planned) == (20, 0, True)
    assert facts.photos == ()
    assert facts.checks == ()


def test_a_failed_night_says_why_and_how_to_mend_it(nights: CostedNights) -> None:
    unfinished_night(nights, "r1", ServerUnavailable("Triton does not answer. Is it up?"))
    facts = look(nights)
    assert facts.state == "failed"
    assert facts.failure is not None
    assert facts.failure.kind == "ServerUnavailable"
    assert facts.failure.text == "Triton does not answer. Is it up?"
    assert "Run again" in facts.failure.cure
    assert facts.generation is None
    # What was recognised is there, though nothing is published.
    assert facts.done.total("recognised") == 12
    assert len(facts.done.quarantined) == 2
    assert len(facts.photos) == 12
    unfinished_night(nights, "r2", CheckFailed("3 checks failed"))
    failure = look(nights).failure
    assert failure is not None and "Nothing was published" in failure.cure


def test_stopped_killed_and_running_nights(nights: CostedNights) -> None:
    unfinished_night(nights, "r1", KeyboardInterrupt())
    facts = look(nights)
    assert facts.state == "stopped"
    assert facts.failure is not None and facts.failure.text.startswith("it was stopped at")
    unfinished_night(nights, "r2", None)
    assert look(nights).state == "unfinished"
    with Heartbeat(nights.settings.runs / "r2", 60):
        running = look(nights)
    assert running.state == "running" and running.is_running
    assert running.failure is None
    assert running.seconds is not None and running.seconds > 0
    crash(nights.settings, "r2")
    crashed = look(nights)
    assert crashed.state == "crashed"
    assert crashed.failure is not None and "without a word" in crashed.failure.text


def test_a_night_that_only_began(nights: CostedNights) -> None:
    Night.new(nights.settings, "r1", [str(nights.archive)], None)
    facts = look(nights)
    assert (facts.state, facts.came.seen, facts.times) == ("unfinished", None, None)
    assert facts.models.pipeline_version is None
    night = Night.load(nights.settings, "r1")
    night.inventory()
    assert look(nights).came.seen == 20


def test_a_run_of_before_there_were_journals(nights: CostedNights) -> None:
    nights.run()
    for name in ("journal.jsonl", "checks.parquet"):
        (nights.settings.runs / "r1" / name).unlink()
    facts = look(nights)
    assert (facts.times, facts.costs, facts.checks, facts.notes) == (None, None, (), ())
    assert facts.done.total("plates") == 18
    assert facts.seconds is not None


def test_a_photo_that_is_gone_or_another_is_a_sentence(nights: CostedNights) -> None:
    nights.run()
    photo_of(nights.archive, "north", 1, 1).unlink()
    other = photo_of(nights.archive, "north", 1, 2)
    data = encoded(".png", seed=5, height=90, width=160)
    size = other.stat().st_size
    other.write_bytes(data[:size].ljust(size, b"\0"))
    facts = look(nights)
    missing = {photo.uri.rsplit("/", 1)[-1]: photo.missing for photo in facts.photos}
    assert "not in its archive" in missing["070501.jpg"] or "" in missing.values()
    gone = [photo for photo in facts.photos if not photo.picture]
    assert sorted(photo.missing for photo in gone) == [
        "The photo in the archive is another one by now.",
        "The photo is not in its archive any more.",
    ]
    assert all(photo.plates for photo in gone)


def test_without_photos_nothing_personal_is_read(nights: CostedNights) -> None:
    nights.run()
    facts = look(nights, photos=0)
    assert facts.photos == () and not facts.shows_personal
    assert all(one.examples == () for one in facts.done.quarantined)
    assert {row.detail for row in facts.checks} == {""}


def test_what_cannot_be_read_is_a_note_and_the_rest_is_told(nights: CostedNights) -> None:
    two_nights(nights)
    lake = open_lake(nights.settings)
    (lake.root / "_generations/00000001.json").unlink()
    facts = look(nights)
    assert len(facts.notes) == 1 and "Generation 1" in facts.notes[0]
    assert facts.came.total("new") is None
    assert facts.came.images == 3
    first = look(nights, "r1")
    assert any("generation 2 has them" in note for note in first.notes)
    assert first.done.total("recognised") >= 10
    (lake.root / "_generations/00000002.json").write_text("{")
    broken = look(nights)
    assert broken.came.seen is not None
    assert broken.notes and broken.times is not None


def test_a_backfill_names_its_parts(nights: CostedNights) -> None:
    lead = Night.new(nights.settings, "r7", [str(nights.archive)], None)
    lead.inventory()
    lead.plan()
    parts = prepare(lead, date(2026, 3, 1), date(2026, 3, 3), 3).parts
    days = frozenset(parts[0].days)
    first = Night.new(nights.settings, parts[0].run_id, [str(nights.archive)], days)
    with pytest.raises(ServerUnavailable), first.ending():
        raise ServerUnavailable("no answer\nat all")
    assert newest_run(nights.settings) == "r7"
    facts = look(nights)
    assert [(part.run_id, part.state, part.images) for part in facts.parts] == [
        ("r7-1", "failed", 6),
        ("r7-2", "waiting", 7),
        ("r7-3", "waiting", 7),
    ]
    assert facts.parts[0].error == "ServerUnavailable: no answer"
    assert facts.notes == ()
    assert "Parts" in render(facts)
    assert look(nights, "r7-1").parts == ()


def test_of_very_many_shards_the_last_are_looked_at(
    nights: CostedNights, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished_night(nights, "r1", ServerUnavailable("down"))
    monkeypatch.setattr(rows, "_MOST_FILES", 2)
    facts = look(nights)
    assert facts.done.looked_at is not None
    shown, recorded = facts.done.looked_at
    assert shown == 2 < recorded
    assert facts.done.total("recognised") == 12  # that is known by the records
    assert 0 < len(facts.photos) < 12


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    with pytest.raises(ConfigurationError, match="there is no run"):
        newest_run(settings)
    with pytest.raises(ConfigurationError, match="platemill status"):
        gather(settings, "r9", photos=0)


def test_models_are_kept_with_the_night(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    version = pipeline_version(repository_of(settings))
    folder = tmp_path / "run"
    folder.mkdir()
    other = models_of(settings, folder, "another", None)
    assert other.models == () and list(folder.iterdir()) == []
    found = models_of(settings, folder, version, "older")
    assert [model.name for model in found.models] == ["lprnet", "plate_recognition", "stn", "yolo"]
    assert all(model.version == "1" and len(model.digest) == 16 for model in found.models)
    assert {file.name for file in found.models[0].files} == {"config.pbtxt", "1/model.pt"}
    assert found.prepost_version == PREPOST_VERSION
    # Whatever is served later: the night's own are told.
    moved = settings.model_copy(update={"triton_models": tmp_path / "nowhere"})
    assert models_of(moved, folder, version, "older") == found
    (folder / "models.json").write_text(json.dumps({"pipeline_version": "x"}))
    assert models_of(moved, folder, version, None).models == ()
    assert models_of(settings, folder, None, None).pipeline_version is None


def test_the_time_of_the_look_can_be_given(nights: CostedNights) -> None:
    nights.run()
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert gather(nights.settings, "r1", photos=0, now=now).made_at == now
