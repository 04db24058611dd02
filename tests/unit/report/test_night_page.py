"""The page of a night: whole, bounded, alone, private, and safe against what it shows."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from costed_nights import CostedNights
from journals import whole_night
from pages_read import read_page
from reported_nights import EVIL_CAMERA, crash, reported_nights, two_nights, unfinished_night
from typer.testing import CliRunner

from platemill.cli import app
from platemill.errors import ServerUnavailable
from platemill.launch.heartbeat import Heartbeat
from platemill.report import write_report
from platemill.report.course import course
from platemill.report.drawings import overlay
from platemill.report.facts import CheckRow, Failure, NightFacts, Photo, Plate
from platemill.report.page import render, write_page
from platemill.report.tallies import Came, CameRow, Done, DoneRow, Late, LateDay, Quarantined
from platemill.report.words import clock, money
from platemill.schema import CONFIDENCE_BINS

SECTIONS = ["came", "done", "failed", "times", "cost", "checks", "late", "models", "photos"]
STARTED = datetime(2026, 6, 1, 3, tzinfo=UTC)
NOBODY = NightFacts("r1", "/home", STARTED, "unfinished", STARTED)


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[CostedNights]:
    with reported_nights(tmp_path / "home") as found:
        yield found


def page_of(nights: CostedNights, run_id: str | None = None, photos: int = 24) -> Path:
    return Path(write_report(nights.settings, run_id, photos=photos)["out"])


def test_every_part_of_a_night_is_on_its_page(nights: CostedNights) -> None:
    two_nights(nights)
    path = page_of(nights)
    assert path == nights.settings.runs / "r2/report.html"
    page = read_page(path)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    for said in (
        "published",
        "Published as generation 2",
        "2026-03-04",
        "Late days",
        "recognise: shards",
        "Images a second",
        "keys_unique",
        "Pipeline version p1",
        "confidence 0.500",
        "node n1 (cpu)",
    ):
        assert said in page.text, said
    first = read_page(page_of(nights, "r1"))
    assert "not_an_image" in first.text and "zero_bytes" in first.text
    assert EVIL_CAMERA in first.text
    assert "This was the first night" in first.text


def test_it_needs_nothing_but_itself(nights: CostedNights) -> None:
    nights.run()
    page = read_page(page_of(nights))
    assert page.scripts == []
    assert all(link.startswith(("#", "data:")) for link in page.links), page.links
    assert not [name for name in page.attributes if name.startswith("on")]
    text = page_of(nights).read_text()
    assert "url(" not in text and "@import" not in text
    assert "<b>gate" not in text


def test_it_is_for_its_owner_alone_and_there_whole(nights: CostedNights, tmp_path: Path) -> None:
    nights.run()
    out = tmp_path / "new/night.html"
    said = write_report(nights.settings, out=out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert said["bytes"] == out.stat().st_size
    assert (said["run_id"], said["state"], said["photos"]) == ("r1", "published", 12)
    out.chmod(0o644)
    write_report(nights.settings, out=out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in out.parent.iterdir()] == ["night.html"]


def test_without_photos_it_names_nobody(nights: CostedNights) -> None:
    nights.run()
    page = read_page(page_of(nights, photos=0))
    for said in ("A000AA77", "070509.jpg", "file://"):
        assert said not in page.text
    assert "It holds no photo" in page.text
    assert "not_an_image" in page.text


@pytest.mark.parametrize(
    "state", ["failed", "stopped", "unfinished", "running", "crashed", "quiet"]
)
def test_every_state_has_a_page(nights: CostedNights, state: str) -> None:
    if state == "quiet":
        nights.run()
        nights.run()
    else:
        errors = {"failed": ServerUnavailable("no answer"), "stopped": KeyboardInterrupt()}
        unfinished_night(nights, "r1", errors.get(state))
    if state == "crashed":
        crash(nights.settings, "r1")
    if state == "running":
        with Heartbeat(nights.settings.runs / "r1", 60):
            page = read_page(page_of(nights))
    else:
        page = read_page(page_of(nights))
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    wanted = {
        "failed": "It failed with ServerUnavailable",
        "stopped": "it was stopped at",
        "unfinished": "It did not end",
        "running": "It still runs",
        "crashed": "ended without a word",
        "quiet": "Nothing to recognise among 20 images",
    }
    assert wanted[state] in page.text


def test_a_run_that_left_nothing_has_a_page() -> None:
    text = render(NOBODY)
    assert "It had not finished its inventory" in text
    assert "The run has no journal" in text


def test_a_huge_night_has_a_page_of_some_hundred_kilobytes(tmp_path: Path) -> None:
    first = date(2024, 1, 1)
    days = [first + timedelta(days=n) for n in range(800)]
    cameras = [f"camera-{n}" for n in range(3000)]
    events = [
        {**one, "node": f"node{n % 40}", "worker": f"w{n % 400}"}
        for n, one in enumerate(whole_night(days={str(day): 1000 for day in days}))
    ]
    facts = replace(
        NOBODY,
        photos_wanted=24,
        times=course(events),
        came=Came(
            seen=10**9,
            planned=True,
            days=tuple(CameRow(str(day), 10**6, 10**11, 10**6, 0, 0) for day in days),
            cameras=tuple(CameRow(name, 10**5, 10**10) for name in cameras),
            cells={(str(days[-1]), cameras[0]): 5},
            left={str(day): 10 for day in days},
        ),
        done=Done(
            days=tuple(DoneRow(day, 9 * 10**5, 10**5, 3, 10**6) for day in days),
            quarantined=(Quarantined("truncated", "decode", 3, (("file:///a.jpg", "cut off"),)),),
        ),
        late=Late(4, days[-1], tuple(LateDay(day, 1, 1, 0, 1, 2) for day in days)),
    )
    path = tmp_path / "page.html"
    assert write_page(path, facts) < 600_000
    page = read_page(path)
    assert "769 older days" in page.text
    assert "And 2,988 more cameras" in page.text
    assert "more workers" in page.text


def test_texts_of_others_stay_texts() -> None:
    evil = "</style><script>alert(1)</script>"
    box = (1.0, 2.0, 30.0, 12.0)
    photo = Photo(evil, evil, STARTED, 100, 80, (Plate(evil, evil, 0.2, box),), "data:image/jpeg,")
    facts = replace(
        NOBODY,
        home=evil,
        photos_wanted=1,
        photos=(photo, replace(photo, picture="", missing=evil)),
        failure=Failure(evil, evil, evil),
        checks=(CheckRow(evil, evil, "block", 1, 0.5, evil),),
        came=Came(
            seen=1,
            planned=True,
            emptied=(evil,),
            days=(CameRow("2026-05-01", 1, 1),),
            cameras=(CameRow(evil, 1, 1),),
            cells={("2026-05-01", evil): 1},
        ),
        done=Done(
            days=(DoneRow(date(2026, 5, 1), quarantined=1),),
            quarantined=(Quarantined(evil, evil, 1, ((evil, evil),)),),
        ),
        notes=(evil,),
        times=course([{**one, "node": evil, "worker": evil} for one in whole_night()]),
    )
    text = render(facts)
    assert "<script" not in text
    assert text.count("</style>") == 1


def test_texts_on_a_photo_do_not_lie_over_each_other() -> None:
    plates = tuple(
        Plate(f"A00{n}AA77", "", 0.3 * n, (100.0 + 5 * n, 50.0, 180.0 + 5 * n, 70.0))
        for n in range(3)
    )
    drawn = overlay(Photo("u", "c", STARTED, 640, 360, plates))
    heights = [part.split('"')[0] for part in drawn.split(' y="') if "font-size" in part[:40]]
    assert len(set(heights)) == 3
    assert [kind in drawn for kind in ('"unsure"', '"fair"', '"sure"')] == [True, True, False]
    assert "<rect" in overlay(Photo("u", "c", STARTED, 0, 0, plates))


def test_numbers_are_worded_for_people() -> None:
    assert [clock(s) for s in (0, 2.5, 36, 59.9, 65, 3725, 90_000)] == [
        *("0 s", "2.5 s", "36 s", "60 s", "1:05 min", "1:02 h", "25:00 h")
    ]
    assert money(1.5, "EUR") == "1.50 EUR"
    assert money(0.00123, "EUR") == "0.0012 EUR"
    assert money(0, "EUR") == "0.00 EUR"
    assert money(None) == "–"
    assert money(0.000001, "EUR", 3) == "0.000 EUR"


def test_a_confidence_has_a_bin_on_the_page() -> None:
    counts = (0,) * (CONFIDENCE_BINS - 1) + (7,)
    done = Done((DoneRow(date(2026, 5, 1), 7, 0, 0, 7),), 6, counts)
    text = render(replace(NOBODY, came=Came(seen=7, planned=True), done=done))
    assert "85.7 % of the plates have a well-formed text" in text
    assert "7 plates of confidence 0.95 to 1.00" in text


def test_the_command_writes_the_newest_run(nights: CostedNights, tmp_path: Path) -> None:
    nights.run()
    home = str(nights.settings.home)
    told = CliRunner().invoke(app, ["report", "--home", home, "--photos", "3", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert (said["run_id"], said["state"], said["photos"]) == ("r1", "published", 3)
    out = tmp_path / "page.html"
    given = ["report", "--home", home, "--run", "r1", "--out", str(out), "--no-photos"]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert "with 0 photos" in told.stdout and str(out) in told.stdout
    refused = CliRunner().invoke(app, ["report", "--home", home, "--run", "nobody"])
    assert "there is no run 'nobody'" in str(refused.exception)
