"""Nights over a real archive with a small fake model: what is planned, and what it becomes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

from photo_files import encoded, png_bomb, put, tar_bytes, zip_bytes
from small_lake import settings_for
from small_nights import Nights


def archive_of_all_kinds(root: Path) -> Path:
    for n in range(30):
        put(root / f"gate/2026/03/{1 + n % 2:02}/0705{n:02}.jpg", encoded(seed=n))
    put(root / "odd/empty.jpg", b"")
    put(root / "odd/half.jpg", encoded()[:400])
    put(root / "odd/text.jpg", b"text")
    put(root / "odd/bomb.png", png_bomb())
    (root / "odd/dangling.jpg").symlink_to(root / "nowhere")
    put(root / "odd/moves.jpg", encoded(seed=40))
    put(root / "odd/goes.jpg", encoded(seed=41))
    put(root / "cut.tar", tar_bytes({"a.jpg": encoded(seed=50), "b.jpg": encoded(seed=51)})[:-9000])
    put(root / "slip.zip", zip_bytes({"../up.jpg": encoded(), "in.jpg": encoded(seed=52)}))
    return root


def test_nights_over_a_changing_archive(tmp_path: Path) -> None:
    root = archive_of_all_kinds(tmp_path / "photos")
    nights = Nights(settings_for(tmp_path / "home"), [root])
    gone = root / "odd/goes.jpg"
    found, plan = nights.run(between=gone.unlink)
    assert plan.total == found.seen
    rows = nights.images()
    assert len(rows) == found.seen
    assert Counter(row["reason"] for row in rows.values() if row["reason"]) == {
        "zero_bytes": 1,
        "truncated": 1,
        "not_an_image": 1,
        "too_many_pixels": 1,
        "unreadable": 1,
        "vanished": 1,
        "corrupt_archive": 1,
        "unsafe_path": 1,
    }
    assert {row["status"] for row in rows.values()} == {"recognised", "no_plate", "quarantined"}

    # One photo is gone; the four that could not be used are looked at again, and are as before.
    again, plan = nights.run()
    assert (again.seen, again.new, plan.shards) == (found.seen - 1, 4, ())

    # A touched photo, another photo under an old name, one that is back, a late one, a mended tar.
    later = datetime(2026, 5, 5, tzinfo=UTC)
    put(root / "gate/2026/03/01/070500.jpg", encoded(seed=0), later)
    put(root / "odd/moves.jpg", encoded(seed=60), later)
    put(gone, encoded(seed=41))
    put(root / "gate/2026/02/27/235959.jpg", encoded(seed=61))
    put(root / "cut.tar", tar_bytes({"a.jpg": encoded(seed=50), "b.jpg": encoded(seed=51)}))
    _, plan = nights.run()
    planned = {row["uri"].split("::")[0].rsplit("/", 1)[-1] for row in plan.table.to_pylist()}
    assert planned - {"a.jpg"} == {"moves.jpg", "goes.jpg", "235959.jpg", "b.jpg"}
    rows = nights.images()
    assert rows["moves.jpg"]["day"] == later.date()
    assert rows["goes.jpg"]["reason"] is None
    assert rows["b.jpg"]["reason"] is None
    _, plan = nights.run()
    assert plan.shards == ()


def test_days_are_worked_on_one_by_one(tmp_path: Path) -> None:
    root = archive_of_all_kinds(tmp_path / "photos")
    nights = Nights(settings_for(tmp_path / "home"), [root])
    second = frozenset({date(2026, 3, 2)})
    found, plan = nights.run(days=second)
    assert {shard.day for shard in plan.shards} == second
    assert found.found.postponed == 15
    whole, rest = nights.run()
    assert whole.seen == found.seen == plan.total + rest.total
    assert len(nights.images()) == whole.seen
