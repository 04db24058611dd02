"""The first stages of a night: what it finds, what it plans, and when there is work at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_files import encoded, put
from small_lake import settings_for
from small_nights import Nights

from platemill.archive.reader import OpenFile
from platemill.cli.run import print_summary
from platemill.launch.stages import Night
from platemill.launch.status import home_status
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(6):
        put(tmp_path / f"photos/gate/2026/04/01/{number:06}.jpg", encoded(seed=number))
    put(tmp_path / "photos/gate/2026/04/02/000000.jpg", b"text")
    return tmp_path / "photos"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home")


def night(settings: Settings, run_id: str, root: Path, **given: object) -> Night:
    return Night.new(settings, run_id, [str(root)] if not given else [], None, **given)  # type: ignore[arg-type]


def published(settings: Settings, root: Path) -> None:
    nights = Nights(settings, [root], facts_only=True)
    nights.pipeline = pipeline_version(repository_of(settings))
    nights.run()


def test_a_run_that_goes_on_reads_nothing_again(
    settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = night(settings, "20260501T000000-aaaaaa", root)
    found = first.inventory()
    assert (found.seen, found.new, first.plan()) == (7, 7, 7)
    monkeypatch.setattr(OpenFile, "blocks", None)
    again = Night.load(settings, first.run_id)
    assert again.inventory() == found
    assert again.plan() == 7
    assert again.has_work()
    # Another run finds what the first one saw, and plans the same shards.
    other = night(settings, "20260501T000001-aaaaaa", root)
    assert (other.inventory().new, other.inventory().bytes_read, other.plan()) == (0, 0, 7)
    waiting = {str(row["day"]): row["images"] for row in home_status(settings)["waiting"]}
    assert waiting == {"2026-04-01": 6, "2026-04-02": 1}


def test_deletions_alone_are_work(
    settings: Settings, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(settings, root)
    quiet = night(settings, "20260501T000000-aaaaaa", root)
    assert (quiet.plan(), quiet.has_work(), quiet.warnings()) == (0, False, [])
    summary = quiet.finish()
    assert (summary["images_seen"], summary["images_new"]) == (7, 0)
    (root / "gate/2026/04/01/000003.jpg").unlink()
    marking = night(settings, "20260501T000001-aaaaaa", root)
    assert (marking.plan(), marking.has_work()) == (0, True)
    summary = marking.finish()
    assert (summary["images_deleted"], summary["images_returned"]) == (1, 0)
    print_summary(summary)
    assert "1 images were marked as deleted" in capsys.readouterr().out
    assert home_status(settings)["waiting"] == []


def test_an_archive_that_is_suddenly_empty_is_a_warning_and_no_work(
    settings: Settings, root: Path, tmp_path: Path
) -> None:
    published(settings, root)
    (root / "gate").rename(tmp_path / "unmounted")
    empty = night(settings, "20260501T000000-aaaaaa", root)
    assert (empty.plan(), empty.has_work()) == (0, False)
    assert any("Is its disk mounted?" in warning for warning in empty.warnings())
    told = settings.model_copy(update={"mark_emptied_archives": True})
    marking = night(told, "20260501T000001-aaaaaa", root)
    assert (marking.plan(), marking.has_work()) == (0, True)
    assert marking.inventory().deleted == 7


def test_a_retry_plans_exactly_the_chosen_images(settings: Settings, root: Path) -> None:
    published(settings, root)
    broken = root / "gate/2026/04/02/000000.jpg"
    put(root / "gate/2026/04/01/999999.jpg", encoded(seed=99))
    retry = night(settings, "20260501T000000-aaaaaa", root, retry=[broken.as_uri()])
    assert (retry.inventory().seen, retry.plan(), retry.has_work()) == (1, 1, True)
    [shard] = retry._plan.shards
    [image] = retry._plan.images(shard.key)
    assert (image.uri, image.attempts) == (broken.as_uri(), 1)
    assert night(settings, "20260501T000001-aaaaaa", root).plan() == 1


def test_other_bytes_of_the_same_size_and_time_are_found_by_rehashing(
    settings: Settings, root: Path
) -> None:
    published(settings, root)
    path = root / "gate/2026/04/02/000000.jpg"
    put(path, b"TEXT")
    assert night(settings, "20260501T000000-aaaaaa", root).plan() == 0
    rehash = settings.model_copy(update={"rehash": True})
    assert night(rehash, "20260501T000001-aaaaaa", root).plan() == 1
