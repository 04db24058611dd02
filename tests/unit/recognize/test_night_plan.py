"""The night's plan reads the days that differ, and plans what a plan in memory plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from small_lake import NIGHT, Photo, at, inventory_of, settings_for, stage

from platemill.archive.scope import Scope
from platemill.lake import Lake, open_lake
from platemill.lake.inventory import SavedInventory, newest_inventory, save_inventory
from platemill.recognize import plan as plans
from platemill.recognize.night_plan import plan_night, waiting_by_day
from platemill.recognize.plan import Plan, make_plan
from platemill.settings import Settings
from platemill.warehouse import facts
from platemill.warehouse.facts import PlannedChanges, merge_facts

EVERYWHERE = Scope(("file:///c1", "file:///c2"))


def shot(number: int, day: int, **changes: object) -> Photo:
    photo = Photo(f"file:///c1/{number:04}.jpg", "c1", at(f"2026-05-{day:02} 10:00"))
    return replace(photo, **changes)  # type: ignore[arg-type]


PHOTOS = [shot(number, 1 + number % 4) for number in range(40)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings)


def save(lake: Lake, photos: list[Photo]) -> SavedInventory:
    return save_inventory(lake.storage, newest_inventory(lake.storage), inventory_of(photos))


def plan(lake: Lake, settings: Settings, name: str = "r", **options: object) -> Plan:
    folder = settings.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    inventory = newest_inventory(lake.storage)
    options = {"scope": EVERYWHERE, **options}
    plan_night(folder, lake, inventory, "p1", 4, **options)  # type: ignore[arg-type]
    return Plan.load(folder)


def publish(lake: Lake, settings: Settings, photos: list[Photo], planned: Plan) -> None:
    records = stage(lake, photos, "r1")
    draft = merge_facts(
        settings,
        records,
        run_id="r1",
        pipeline_version="p1",
        planned=planned.changes,
        now=NIGHT,
    )
    lake.commit(draft.generation)


def test_it_plans_what_a_plan_in_memory_plans(lake: Lake, settings: Settings) -> None:
    save(lake, PHOTOS)
    night = plan(lake, settings)
    nothing = pa.schema(
        [("uri", pa.string()), ("image_id", pa.string()), ("camera_id", pa.string())]
    )
    nothing = nothing.append(pa.field("captured_at", pa.timestamp("us", "UTC")))
    done = nothing.append(pa.field("reason", pa.string())).empty_table()
    memory = make_plan(inventory_of(PHOTOS), done, "p1", 4)
    assert night.shards == memory.shards
    assert night.table == memory.table
    assert (night.total, night.inventory, night.changes.base) == (40, 1, None)
    assert waiting_by_day(lake, newest_inventory(lake.storage), "p1") == {
        date(2026, 5, day): 10 for day in (1, 2, 3, 4)
    }


def test_a_finished_lake_has_no_plan_and_no_day_to_read(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(lake, PHOTOS)
    publish(lake, settings, PHOTOS, plan(lake, settings))
    monkeypatch.setattr("platemill.recognize.night_plan._rows", None)
    again = plan(lake, settings, "again")
    assert (again.shards, again.touched_days) == ((), ())
    assert again.table.num_rows == 0
    assert waiting_by_day(lake, newest_inventory(lake.storage), "p1") == {}


def test_other_archives_and_unseen_images_wait(lake: Lake, settings: Settings) -> None:
    other = Photo("file:///c2/x.jpg", "c2", at("2026-05-01 10:00"))
    prefix = Photo("file:///c11/x.jpg", "c2", at("2026-05-01 10:00"))
    save(lake, [*PHOTOS, other, prefix])
    assert plan(lake, settings, "a", scope=Scope(("file:///c2",))).total == 1
    assert plan(lake, settings, "b", scope=Scope(("file:///c1",))).total == 40
    unseen = pa.table({"uri": [PHOTOS[0].uri]})
    assert plan(lake, settings, "c", unseen=unseen).total == 40
    assert plan(lake, settings, "d", scope=Scope(("file:///c1",), ("file:///c1",))).total == 0


def test_a_file_on_another_day_leaves_the_old_one_though_its_night_had_died(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(lake, PHOTOS)
    publish(lake, settings, PHOTOS, plan(lake, settings))
    moved = shot(0, 9)
    uris = pa.table({"uri": [moved.uri], "day": pa.array([date(2026, 5, 1)])})
    save_inventory(lake.storage, newest_inventory(lake.storage), inventory_of([moved]), uris)
    night = plan(lake, settings, "later", days=frozenset({date(2026, 5, 9)}))
    assert (night.total, night.changes.left) == (1, {date(2026, 5, 1)})
    assert night.touched_days == (date(2026, 5, 1), date(2026, 5, 9))
    shown = []
    original = facts._show

    def show(connection, lake, table, name, files):  # type: ignore[no-untyped-def]
        shown.append((name, len(files)))
        original(connection, lake, table, name, files)

    monkeypatch.setattr(facts, "_show", show)
    publish(lake, settings, [moved], night)
    # Not one day's URIs are searched for it.
    assert "recorded" not in {name for name, _ in shown}
    generation = lake.current()
    assert generation is not None
    assert {day: entry.rows for day, entry in generation.partitions("images").items()} == {
        date(2026, 5, 1): 9,
        date(2026, 5, 2): 10,
        date(2026, 5, 3): 10,
        date(2026, 5, 4): 10,
        date(2026, 5, 9): 1,
    }
    assert plan(lake, settings, "last").touched_days == ()


def test_what_was_published_since_the_plan_loses_its_rows_too(
    lake: Lake, settings: Settings
) -> None:
    save(lake, [shot(0, 9)])
    early = plan(lake, settings)
    assert (early.changes.base, early.changes.left) == (None, frozenset())
    # Another run knew the same file on another day, and publishes first.
    publish(lake, settings, [shot(0, 3), shot(1, 4)], early)
    publish(lake, settings, [shot(0, 9)], early)
    generation = lake.current()
    assert generation is not None
    assert sorted(generation.partitions("images")) == [date(2026, 5, 4), date(2026, 5, 9)]


def test_without_the_manifest_that_it_was_made_against_all_days_are_searched(
    lake: Lake, settings: Settings
) -> None:
    save(lake, [shot(0, 3), shot(1, 4)])
    publish(lake, settings, [shot(0, 3), shot(1, 4)], plan(lake, settings))
    records = stage(lake, [shot(0, 9)], "r2")
    draft = merge_facts(
        settings,
        records,
        run_id="r2",
        pipeline_version="p1",
        planned=PlannedChanges(base=77),
        now=NIGHT,
    )
    assert sorted(draft.generation.partitions("images")) == [date(2026, 5, 4), date(2026, 5, 9)]


def test_named_images_are_planned_though_they_are_done(lake: Lake, settings: Settings) -> None:
    photos = [shot(0, 1, reason="inference_failed"), shot(1, 1), shot(2, 2)]
    save(lake, photos)
    publish(lake, settings, photos, plan(lake, settings))
    assert plan(lake, settings, "quiet").total == 0
    again = plan(lake, settings, "again", scope=Scope(()), again=frozenset({photos[0].uri}))
    [image] = again.images(again.shards[0].key)
    # The row of the first night says that it was tried once.
    assert (image.uri, image.attempts) == (photos[0].uri, 1)
    assert again.changes.left == frozenset()


def test_many_shards_are_loaded_without_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_GROUP_ROWS", 8)
    table = inventory_of(PHOTOS)
    done = table.slice(0, 0).append_column("reason", pa.array([], pa.string()))
    made = make_plan(table, done, "p1", 4)
    made.save(tmp_path)
    assert len(made.groups) > 4
    loaded = Plan.load(tmp_path)
    (tmp_path / "plan.parquet").rename(tmp_path / "away")
    assert (loaded.total, loaded.days, len(loaded.shards)) == (40, made.days, len(made.shards))
    (tmp_path / "away").rename(tmp_path / "plan.parquet")
    for shard in (*made.shards, *reversed(made.shards)):
        assert loaded.images(shard.key) == made.images(shard.key)
        assert len(loaded.images(shard.key)) == shard.images


def test_attempts_count_for_the_same_image_only() -> None:
    photos = [shot(0, 1), shot(1, 1)]
    done = inventory_of(photos).select(["uri", "image_id", "camera_id", "captured_at"])
    done = done.append_column("reason", pa.array(["vanished", "vanished"]))
    done = done.append_column("attempts", pa.array([3, 5]))
    now = inventory_of([photos[0], replace(photos[1], image_id="0" * 32)])
    made = make_plan(now, done, "p1", 4)
    images = [image for shard in made.shards for image in made.images(shard.key)]
    assert [image.attempts for image in images] == [3, 0]
