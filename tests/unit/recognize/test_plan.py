from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from platemill import schema
from platemill.errors import ConfigurationError
from platemill.recognize.plan import PLAN_SCHEMA, Plan, PlannedImage, make_plan
from platemill.schema import IMAGES, INVENTORY

START = datetime(2026, 3, 1, tzinfo=UTC)
DONE = pa.schema(
    [IMAGES.arrow.field(n) for n in ("uri", "image_id", "camera_id", "captured_at", "reason")]
)
NOTHING_DONE = DONE.empty_table()


def row(n: int, later: int = 0, **changes: object) -> dict[str, object]:
    time = START + timedelta(days=later, seconds=n)
    return {
        "uri": f"file:///a/{n:05}.jpg",
        "image_id": hashlib.blake2b(b"%d" % n, digest_size=16).hexdigest(),
        "camera_id": "c",
        "captured_at": time,
        "day": time.date(),
        "byte_size": 100 + n,
        "modified_at": time,
        "time_source": "layout",
        **changes,
    }


def inventory(rows: Iterable[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=INVENTORY.arrow)


def done(rows: Iterable[dict[str, object]], **changes: object) -> pa.Table:
    return pa.Table.from_pylist([{"reason": None, **r, **changes} for r in rows], schema=DONE)


def planned(plan: Plan) -> list[str]:
    return [image.uri for shard in plan.shards for image in plan.images(shard.key)]


def test_shards_are_of_one_day_and_not_too_large() -> None:
    rows = [row(n, n % 3) for n in range(1000)]
    plan = make_plan(inventory(rows), NOTHING_DONE, "p", 64)
    assert plan.table.schema == PLAN_SCHEMA
    assert sorted(planned(plan)) == sorted(str(r["uri"]) for r in rows)
    assert len({shard.key for shard in plan.shards}) == len(plan.shards)
    ends = dict.fromkeys(range(3), 0)
    for shard in plan.shards:
        images = plan.images(shard.key)
        assert shard.first_row == ends[shard.group]
        assert len(images) == shard.images <= 64
        assert {image.day for image in images} == {shard.day}
        ends[shard.group] += shard.images
    assert sum(ends.values()) == plan.total == 1000
    assert {shard.day for shard in plan.shards} == {date(2026, 3, d) for d in (1, 2, 3)}
    # Not a shard an image either.
    assert len(plan.shards) < 1000 / 20


def test_the_day_is_the_utc_day_of_the_row() -> None:
    last = row(0, captured_at=datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC))
    first = row(1, captured_at=datetime(2026, 3, 2, tzinfo=UTC), day=date(2026, 3, 2))
    plan = make_plan(inventory([last, first]), NOTHING_DONE, "p", 10)
    assert [shard.day for shard in plan.shards] == [date(2026, 3, 1), date(2026, 3, 2)]


def test_only_the_wanted_days_are_planned() -> None:
    rows = [row(n, n % 3) for n in range(30)]
    plan = make_plan(
        inventory(rows), NOTHING_DONE, "p", 64, days=frozenset({date(2026, 3, 2), date(2030, 1, 1)})
    )
    assert {shard.day for shard in plan.shards} == {date(2026, 3, 2)}
    assert plan.table.num_rows == 10


def test_nothing_to_do() -> None:
    rows = [row(n) for n in range(5)]
    for made in (
        make_plan(inventory([]), NOTHING_DONE, "p", 10),
        make_plan(inventory(rows), done(rows), "p", 10),
        make_plan(inventory(rows), NOTHING_DONE, "p", 10, days=frozenset({date(2020, 1, 1)})),
    ):
        assert made.shards == ()
        assert made.table.num_rows == 0
        assert made.table.schema == PLAN_SCHEMA


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": "0" * 32},
        {"camera_id": "moved"},
        {"captured_at": START + timedelta(hours=9)},
    ],
)
def test_another_photo_under_the_same_name_is_planned(changes: dict[str, object]) -> None:
    rows = [row(n) for n in range(5)]
    changed = [*rows[:4], {**rows[4], **changes}]
    plan = make_plan(inventory(changed), done(rows), "p", 10)
    assert planned(plan) == [rows[4]["uri"]]


def test_a_touched_photo_is_done() -> None:
    rows = [row(n) for n in range(5)]
    touched = [{**r, "modified_at": START + timedelta(days=99)} for r in rows]
    assert make_plan(inventory(touched), done(rows), "p", 10).shards == ()


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("vanished", True),
        ("unreadable", True),
        ("truncated", False),
        ("changed", False),
        ("inference_failed", False),
    ],
)
def test_what_had_passed_is_tried_again_once_it_is_seen_well(reason: str, again: bool) -> None:
    rows = [row(0)]
    plan = make_plan(inventory(rows), done(rows, reason=reason), "p", 10)
    assert bool(plan.shards) == again
    still = [row(0, rejected_reason=reason, rejected_detail="as before")]
    assert make_plan(inventory(still), done(rows, reason=reason), "p", 10).shards == ()


def test_rejected_images_are_planned_so_that_they_are_rows() -> None:
    bad = row(3, rejected_reason="zero_bytes", rejected_detail="the file is empty")
    plan = make_plan(inventory([bad]), NOTHING_DONE, "p", 10)
    (image,) = plan.images(plan.shards[0].key)
    assert (image.rejected_reason, image.rejected_detail) == ("zero_bytes", "the file is empty")


def test_a_key_depends_on_images_version_and_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(n) for n in range(5)]

    def key(rows: list[dict[str, object]], version: str = "p") -> str:
        (shard,) = make_plan(inventory(rows), NOTHING_DONE, version, 100).shards
        return shard.key

    base = key(rows)
    assert key(list(reversed(rows))) == base
    assert key([{**r, "modified_at": START, "byte_size": 7} for r in rows]) == base
    others = [
        key(rows[:4]),
        key([*rows[:4], row(4, image_id="0" * 32)]),
        key([*rows[:4], row(4, uri="file:///b")]),
        key([*rows[:4], row(4, camera_id="d")]),
        key(rows, "q"),
    ]
    monkeypatch.setattr("platemill.recognize.plan.SCHEMA_VERSION", "9")
    others.append(key(rows))
    assert len({base, *others}) == 7


def test_members_of_an_archive_stay_together_in_their_order() -> None:
    rows = []
    for archive in ("x", "y"):
        for n in range(20):
            uri = f"tar://{(n * 7) % 20:02}.jpg::file:///{archive}.tar"
            rows.append(row(n, uri=uri, offset=n * 1000, image_id=f"{n:032x}"))
    plan = make_plan(inventory(rows), NOTHING_DONE, "p", 100)
    uris = planned(plan)
    assert [u[-5] for u in uris] == ["x"] * 20 + ["y"] * 20
    assert [plan.table["offset"][n].as_py() for n in range(20)] == [n * 1000 for n in range(20)]


def test_a_late_image_moves_the_borders_of_its_own_shard_only() -> None:
    rows = [row(n) for n in range(0, 4000, 2)]
    before = {s.key for s in make_plan(inventory(rows), NOTHING_DONE, "p", 64).shards}
    changed = []
    for late in range(1, 4000, 200):
        after = {
            s.key for s in make_plan(inventory([*rows, row(late)]), NOTHING_DONE, "p", 64).shards
        }
        changed.append(len(after - before))
    assert len(before) > 40
    assert sum(changed) / len(changed) < 3
    assert max(changed) <= 8


def test_images_of_one_content_are_cut_too() -> None:
    for content in ("0" * 32, "1" * 32):
        rows = [row(n, image_id=content) for n in range(500)]
        plan = make_plan(inventory(rows), NOTHING_DONE, "p", 64)
        assert all(16 <= shard.images <= 64 for shard in plan.shards[:-1])
        assert len({shard.key for shard in plan.shards}) == len(plan.shards)


@pytest.mark.parametrize("shard_images", [1, 2, 3])
def test_tiny_shards(shard_images: int) -> None:
    plan = make_plan(inventory([row(n) for n in range(9)]), NOTHING_DONE, "p", shard_images)
    assert all(1 <= shard.images <= shard_images for shard in plan.shards)
    assert len(planned(plan)) == 9


def test_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(inventory([row(n, n % 2) for n in range(100)]), NOTHING_DONE, "p7", 16)
    plan.save(tmp_path)
    loaded = Plan.load(tmp_path)
    assert loaded.shards == plan.shards
    assert loaded.table == plan.table
    assert loaded.pipeline_version == "p7"
    key = plan.shards[1].key
    assert loaded.images(key) == plan.images(key)
    assert isinstance(loaded.images(key)[0], PlannedImage)
    with pytest.raises(KeyError):
        loaded.images("none")
    monkeypatch.setattr("platemill.recognize.plan.SCHEMA_VERSION", "9")
    with pytest.raises(ConfigurationError, match="start a new run"):
        Plan.load(tmp_path)
    with pytest.raises(ConfigurationError, match="holds no plan"):
        Plan.load(tmp_path / "nowhere")


def test_the_plan_has_the_inventorys_columns() -> None:
    own = set(PLAN_SCHEMA.names) - {"attempts"}
    assert set(schema.INVENTORY.arrow.names) - own == {"archive_stamp", "deleted_at"}
    assert own < set(schema.INVENTORY.arrow.names)
