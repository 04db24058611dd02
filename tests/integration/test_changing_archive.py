"""Late, changed, touched, moved and deleted photos: exactly their days change, nothing is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, put, tar_bytes
from small_lake import settings_for
from small_nights import SEEN, Killed, Nights

from platemill.lake import Generation, open_lake
from platemill.lake.inventory import newest_inventory
from platemill.recognize import night_plan
from platemill.warehouse.query import run_sql

LATER = datetime(2026, 6, 6, 6, tzinfo=UTC)
APRIL = [date(2026, 4, day) for day in (1, 2, 3)]


def hash_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def photo(day: int, number: int) -> str:
    return f"gate/2026/04/{day:02}/{number:06}.jpg"


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    root = tmp_path / "photos"
    for day in (1, 2, 3):
        for number in range(4):
            put(root / photo(day, number), encoded(seed=10 * day + number))
    made = Nights(settings_for(tmp_path / "home"), [root])
    made.run()
    return made


def root(nights: Nights) -> Path:
    return nights.archives[0]


def current(nights: Nights) -> Generation:
    generation = open_lake(nights.settings).current()
    assert generation is not None
    return generation


def changed_days(before: Generation, after: Generation, table: str = "images") -> list[date]:
    then, now = before.partitions(table), after.partitions(table)
    return sorted(day for day in {*then, *now} if then.get(day) != now.get(day))


@pytest.fixture
def read_days(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The days whose rows a plan reads."""
    read: list[date] = []
    original = night_plan._rows

    def rows(inventory: Any, lake: Any, day: date, *rest: Any) -> Any:
        read.append(day)
        return original(inventory, lake, day, *rest)

    monkeypatch.setattr(night_plan, "_rows", rows)
    return read


def test_a_night_with_nothing_new_reads_no_row(nights: Nights, read_days: list[date]) -> None:
    before = current(nights)
    _, plan = nights.run()
    assert (plan.shards, plan.touched_days, read_days) == ((), (), [])
    assert current(nights) == before


def test_a_late_image_makes_exactly_its_day_dirty(nights: Nights, read_days: list[date]) -> None:
    before = current(nights)
    put(root(nights) / photo(2, 9), encoded(seed=99))
    _, plan = nights.run()
    assert read_days == [APRIL[1]]
    assert plan.total == 1
    after = current(nights)
    assert changed_days(before, after) == [APRIL[1]]
    assert changed_days(before, after, "camera_day_v1") == [APRIL[1]]
    # The first three days of April 2026 are of one week and one month.
    assert changed_days(before, after, "camera_week_v1") == [date(2026, 3, 30)]
    assert changed_days(before, after, "camera_month_v1") == [APRIL[0]]


def test_changed_content_under_the_same_name(nights: Nights) -> None:
    # Of the same size, so that only the time tells that it may differ, and the hash that it does.
    path = root(nights) / photo(1, 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    put(path, bytes(data), LATER)
    ids = "SELECT uri, image_id FROM images ORDER BY uri"
    before = run_sql(nights.settings, ids).to_pylist()
    _, plan = nights.run()
    assert [image["uri"] for image in plan.table.to_pylist()] == [path.as_uri()]
    assert plan.touched_days == (APRIL[0],)
    after = run_sql(nights.settings, ids).to_pylist()
    assert [row for row in after if row not in before] == [
        {"uri": path.as_uri(), "image_id": hash_of(bytes(data))}
    ]
    assert len(after) == len(before)


def test_touched_but_equal_bytes_change_nothing(nights: Nights) -> None:
    before = current(nights)
    path = root(nights) / photo(1, 0)
    put(path, path.read_bytes(), LATER)
    found, plan = nights.run()
    assert found.found.bytes_read == path.stat().st_size
    assert plan.touched_days == ()
    assert current(nights) == before
    # It is known by its new time now.
    found, _ = nights.run()
    assert found.found.bytes_read == 0


def test_same_size_and_time_are_seen_only_by_hashing_anew(nights: Nights) -> None:
    path = root(nights) / photo(1, 0)
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    put(path, bytes(data), time)
    assert nights.run()[1].total == 0
    found, plan = nights.run(rehash=True)
    assert found.found.bytes_read > 10 * len(data)
    assert plan.total == 1


def marks(nights: Nights) -> dict[str, Any]:
    rows = run_sql(nights.settings, "SELECT uri, deleted_at FROM images").to_pylist()
    here = root(nights).as_uri() + "/"
    return {row["uri"].removeprefix(here): row["deleted_at"] for row in rows if row["deleted_at"]}


def test_a_deleted_image_keeps_its_rows_marked(nights: Nights) -> None:
    before = current(nights)
    plates = run_sql(nights.settings, "SELECT * FROM recognitions ORDER BY ALL").to_pylist()
    path = root(nights) / photo(2, 1)
    data = path.read_bytes()
    path.unlink()
    found, plan = nights.run()
    assert (found.found.deleted, plan.total, plan.touched_days) == (1, 0, (APRIL[1],))
    assert marks(nights) == {photo(2, 1): SEEN + timedelta(days=nights.count)}
    assert run_sql(nights.settings, "SELECT * FROM recognitions ORDER BY ALL").to_pylist() == plates
    after = current(nights)
    assert changed_days(before, after) == [APRIL[1]]
    # Once is enough.
    found, plan = nights.run()
    assert (found.found.deleted, plan.touched_days) == (0, ())
    assert current(nights) == after
    # Back as it was: the mark goes, nothing is read or recognised.
    put(path, data)
    found, plan = nights.run()
    assert (found.found.returned, found.found.bytes_read, plan.total) == (1, 0, 0)
    assert marks(nights) == {}
    assert nights.run()[1].touched_days == ()


def test_a_mark_that_was_not_published_is_made_by_the_next_night(nights: Nights) -> None:
    (root(nights) / photo(2, 1)).unlink()
    with pytest.raises(Killed):
        nights.run(die_after="inventory")
    found, _ = nights.run()
    assert found.found.deleted == 0
    assert list(marks(nights)) == [photo(2, 1)]


def test_a_deleted_image_that_was_never_recognised_is_not_waiting(nights: Nights) -> None:
    late = put(root(nights) / photo(3, 8), encoded(seed=77))
    with pytest.raises(Killed):
        nights.run(die_after="plan")
    late.unlink()
    _, plan = nights.run()
    assert plan.total == 0
    lake = open_lake(nights.settings)
    inventory = newest_inventory(lake.storage)
    assert night_plan.waiting_by_day(lake, inventory, "p1") == {}
    assert nights.run()[1].touched_days == ()
    put(late, encoded(seed=77))
    assert nights.run()[1].total == 1


def test_one_that_comes_back_on_another_day_leaves_the_old_one(nights: Nights) -> None:
    loose = put(root(nights) / "gate/loose.jpg", encoded(seed=5), datetime(2026, 4, 1, tzinfo=UTC))
    nights.run()
    loose.unlink()
    nights.run()
    assert list(marks(nights)) == ["gate/loose.jpg"]
    put(loose, encoded(seed=6), datetime(2026, 4, 3, tzinfo=UTC))
    # It is killed, so the next one only sees by the digests that the first day loses a row.
    with pytest.raises(Killed):
        nights.run(die_after="recognise")
    _, plan = nights.run()
    assert APRIL[0] in plan.changes.left
    assert nights.images_named("loose.jpg")[0]["day"] == APRIL[2]
    assert marks(nights) == {}


def test_one_that_moves_and_is_deleted_before_it_is_recognised_is_marked_where_it_was(
    nights: Nights,
) -> None:
    loose = put(root(nights) / "gate/loose.jpg", encoded(seed=5), datetime(2026, 4, 1, tzinfo=UTC))
    nights.run()
    put(loose, encoded(seed=6), datetime(2026, 4, 3, tzinfo=UTC))
    with pytest.raises(Killed):
        nights.run(die_after="plan")
    loose.unlink()
    nights.run()
    [row] = nights.images_named("loose.jpg")
    assert row["day"] == APRIL[0]
    assert row["deleted_at"] is not None


def test_a_moved_file_leaves_a_day_outside_of_the_filter(nights: Nights) -> None:
    loose = put(root(nights) / "gate/loose.jpg", encoded(seed=5), datetime(2026, 4, 1, tzinfo=UTC))
    nights.run()
    put(loose, encoded(seed=6), datetime(2026, 4, 3, tzinfo=UTC))
    _, plan = nights.run(days=frozenset({APRIL[2]}))
    assert plan.days == (APRIL[2],)
    assert [row["day"] for row in nights.images_named("loose.jpg")] == [APRIL[2]]


def test_what_was_not_looked_at_is_never_marked(nights: Nights, tmp_path: Path) -> None:
    folder = root(nights)
    other = tmp_path / "other"
    put(other / photo(1, 1), encoded(seed=31))
    tar = put(folder / "t.tar", tar_bytes({"a.jpg": encoded(seed=32), "b.jpg": encoded(seed=33)}))
    elsewhere = put(tmp_path / "disk/c.jpg", encoded(seed=34)).parent
    (folder / "disk").symlink_to(elsewhere)
    nights.run(archives=[folder, other])
    count = len(run_sql(nights.settings, "SELECT uri FROM images").to_pylist())
    # An archive that is not named, and a filter.
    shutil.rmtree(other)
    assert nights.run()[0].found.deleted == 0
    (folder / photo(3, 3)).rename(tmp_path / "away.jpg")
    assert nights.run(days=frozenset({APRIL[2]}))[0].found.deleted == 0
    (tmp_path / "away.jpg").rename(folder / photo(3, 3))
    # A tar that is cut off, and a link to a disk that is not there.
    tar.write_bytes(tar.read_bytes()[:3000])
    elsewhere.rename(tmp_path / "unplugged")
    assert nights.run()[0].found.deleted == 0
    assert marks(nights) == {}
    rows = run_sql(nights.settings, "SELECT uri FROM images").to_pylist()
    assert count <= len(rows)


def test_a_folder_that_cannot_be_listed_marks_nothing(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("04/02"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, plan = nights.run()
    assert found.found.deleted == 0
    # The folder's own row says that photos may be missing.
    assert plan.total == 1
    assert marks(nights) == {}
    monkeypatch.undo()
    found, plan = nights.run()
    assert plan.total == 0
    # That row is the one that is gone now.
    assert [name.endswith("04/02/") for name in marks(nights)] == [True]


def test_an_archive_that_is_empty_all_of_a_sudden_marks_nothing_unless_told(
    nights: Nights, tmp_path: Path
) -> None:
    before = current(nights)
    folder = root(nights)
    (folder / "gate").rename(tmp_path / "unmounted")
    found, plan = nights.run()
    assert found.found.emptied == (folder.as_uri(),)
    assert (found.found.deleted, plan.touched_days) == (0, ())
    assert current(nights) == before
    found, plan = nights.run(mark_emptied=True)
    assert (found.found.deleted, found.found.emptied) == (12, ())
    assert len(marks(nights)) == 12
    (tmp_path / "unmounted").rename(folder / "gate")
    found, _ = nights.run()
    assert (found.found.returned, found.found.bytes_read) == (12, 0)
    assert marks(nights) == {}


def test_a_tar_without_a_member_and_a_tar_that_is_gone(nights: Nights) -> None:
    members = {name: encoded(seed=n) for n, name in enumerate(("a.jpg", "b.jpg"), 50)}
    tar = put(root(nights) / "t.tar", tar_bytes(members))
    nights.run()
    put(tar, tar_bytes({"a.jpg": members["a.jpg"]}), LATER)
    assert nights.run()[0].found.deleted == 1
    tar.unlink()
    assert nights.run()[0].found.deleted == 1
    assert len(marks(nights)) == 2
    put(tar, tar_bytes(members))
    found, plan = nights.run()
    assert plan.total == 0
    assert marks(nights) == {}
    assert found.seen == 14


def test_a_new_pipeline_version_reads_everything_once(
    nights: Nights, read_days: list[date]
) -> None:
    nights.pipeline = "p2"
    _, plan = nights.run()
    assert (plan.total, read_days) == (12, APRIL)
    read_days.clear()
    _, plan = nights.run()
    assert (plan.total, read_days) == (0, [])
