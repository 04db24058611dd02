"""The saved inventory: a file a day, numbered manifests, and nothing lost between two writers."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platemill.errors import ConfigurationError, RetryableError
from platemill.lake import inventory as saved
from platemill.lake.identity import DayDigest, digest_of_images, digest_of_inventory
from platemill.lake.inventory import (
    SavedInventory,
    load_inventory,
    newest_inventory,
    save_inventory,
)
from platemill.lake.storage import LocalStorage
from platemill.schema import INVENTORY

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def row(uri: str, size: int = 1, later: int = 0, **changes: Any) -> dict[str, Any]:
    taken = NOON + timedelta(days=later)
    return {
        "uri": uri,
        "image_id": f"{uri}-{size}",
        "camera_id": "c",
        "captured_at": taken,
        "day": taken.date(),
        "byte_size": size,
        "modified_at": NOON,
        "time_source": "file",
        **changes,
    }


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=INVENTORY.arrow)


def day(later: int) -> date:
    return (NOON + timedelta(days=later)).date()


def moved(uri: str, later: int) -> pa.Table:
    schema = pa.schema([INVENTORY.arrow.field("uri"), INVENTORY.arrow.field("day")])
    return pa.Table.from_pylist([{"uri": uri, "day": day(later)}], schema=schema)


def sizes(inventory: SavedInventory) -> dict[str, int]:
    return {row["uri"]: row["byte_size"] for row in inventory.known().to_pylist()}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def test_there_is_none_at_first(storage: LocalStorage) -> None:
    first = newest_inventory(storage)
    assert first.number == 0
    assert first.known().schema == INVENTORY.arrow
    assert save_inventory(storage, first, table()).number == 0
    assert storage.names("_inventory") == []


def test_rows_are_merged_by_uri_and_only_their_days_are_written(storage: LocalStorage) -> None:
    one = save_inventory(
        storage, newest_inventory(storage), table(row("b"), row("a"), row("z", 1, 3))
    )
    two = save_inventory(storage, one, table(row("b", 2), row("c", 3)))
    assert (one.number, two.number) == (1, 2)
    assert sizes(two) == {"a": 1, "b": 2, "c": 3, "z": 1}
    assert two.read(day(0))["uri"].to_pylist() == ["a", "b", "c"]
    assert two.days[day(3)] == one.days[day(3)]
    assert two.days[day(0)].path != one.days[day(0)].path
    assert two.rows == 4
    assert newest_inventory(storage) == two
    # Who still reads the first one can.
    assert sizes(load_inventory(storage, 1)) == {"a": 1, "b": 1, "z": 1}


def test_nothing_new_writes_nothing(storage: LocalStorage) -> None:
    one = save_inventory(storage, newest_inventory(storage), table(row("a"), row("b")))
    names = sorted(entry.name for entry in storage.entries())
    assert save_inventory(storage, one, table(row("b"))) == one
    assert sorted(entry.name for entry in storage.entries()) == names


def test_an_image_leaves_the_day_that_it_was_on(storage: LocalStorage) -> None:
    one = save_inventory(storage, newest_inventory(storage), table(row("a"), row("b", 1, 5)))
    two = save_inventory(storage, one, table(row("a", 1, 2)), moved("a", 0))
    assert sorted(two.days) == [day(2), day(5)]
    assert two.known().num_rows == 2


def test_two_that_save_at_once_lose_nothing(storage: LocalStorage) -> None:
    base = save_inventory(storage, newest_inventory(storage), table(row("a"), row("b")))
    # Both compared with the same one. The second one moves an image that the first moved, too, and
    # has one on another day that was new to both.
    first = table(row("a", 7, 3), row("b", 2, 1), row("n", 3, 4))
    save_inventory(storage, base, first, pa.concat_tables([moved("a", 0), moved("b", 0)]))
    second = table(row("a", 9, 2), row("d"), row("n", 4, 5))
    merged = save_inventory(storage, base, second, moved("a", 0))
    assert sizes(merged) == {"a": 9, "b": 2, "d": 1, "n": 4}
    assert merged.known().num_rows == 4


def test_of_many_savers_none_loses_a_row(storage: LocalStorage) -> None:
    base = newest_inventory(storage)

    def save(number: int) -> None:
        rows = [row(f"{number}-{n}", number + 1, n % 3) for n in range(6)]
        save_inventory(storage, base, table(*rows))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(12)))
    newest = newest_inventory(storage)
    assert len(sizes(newest)) == newest.known().num_rows == 72
    assert newest.number == 12


def test_old_manifests_go_with_their_files(storage: LocalStorage) -> None:
    inventory = newest_inventory(storage)
    stays = save_inventory(storage, inventory, table(row("z", 1, 9)))
    inventory = stays
    for size in range(40):
        inventory = save_inventory(storage, inventory, table(row("a", size + 2)))
    names = {entry.name for entry in storage.entries()}
    manifests = set(storage.names("_inventory"))
    needed = {name for n in range(26, 42) for name in load_inventory(storage, n).files()}
    assert names == manifests | needed
    # Sixteen manifests, each with a file of its own, and the file that all of them name.
    assert len(names) == 33
    assert sizes(inventory) == {"a": 41, "z": 1}
    with pytest.raises(RetryableError, match="superseded"):
        load_inventory(storage, 3)
    old = SavedInventory(storage, 2, {day(0): inventory.days[day(0)]})
    storage.remove(inventory.days[day(0)].path)
    with pytest.raises(RetryableError, match="is gone; run again"):
        old.read(day(0))


def test_a_killed_saver_leaves_the_inventory_as_it_was(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = save_inventory(storage, newest_inventory(storage), table(row("a")))

    def killed(name: str) -> None:
        if name == "inventory.manifest.before":
            raise KeyboardInterrupt

    monkeypatch.setattr(saved, "failpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        save_inventory(storage, one, table(row("a", 5)))
    monkeypatch.undo()
    assert newest_inventory(storage) == one
    assert sizes(save_inventory(storage, one, table(row("a", 5)))) == {"a": 5}


def test_another_schema_says_what_to_do(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "SCHEMA_VERSION", "1")
    save_inventory(storage, newest_inventory(storage), table(row("a")))
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match=r"schema 1, .* another home"):
        newest_inventory(storage)
    storage.replace("_inventory/00000001.json", b"{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        newest_inventory(storage)


def test_images_are_found_by_their_uris(storage: LocalStorage) -> None:
    inventory = save_inventory(
        storage, newest_inventory(storage), table(row("a"), row("b", 2, 1), row("c", 3, 1))
    )
    assert inventory.named(["c", "a", "nowhere"])["uri"].to_pylist() == ["a", "c"]
    assert inventory.named([]).schema == INVENTORY.arrow


def done(rows: pa.Table) -> pa.Table:
    """What the facts say of inventory rows that were recognised as they are."""
    return rows.rename_columns(
        ["reason" if name == "rejected_reason" else name for name in rows.column_names]
    )


def test_the_digest_of_a_day_is_that_of_its_facts_and_of_no_other(storage: LocalStorage) -> None:
    rows = [row(f"{n:03}", n) for n in range(50)]
    base = digest_of_inventory(table(*rows))
    assert digest_of_images(done(table(*rows))) == base
    shuffled = random.Random(3).sample(rows, len(rows))
    inventory = save_inventory(storage, newest_inventory(storage), table(*shuffled))
    assert inventory.days[day(0)].digest == base
    others = {
        "gone": rows[1:],
        "content": [*rows[:-1], {**rows[-1], "image_id": "x"}],
        "camera": [*rows[:-1], {**rows[-1], "camera_id": "d"}],
        "time": [*rows[:-1], {**rows[-1], "captured_at": NOON + timedelta(microseconds=1)}],
        "deleted": [*rows[:-1], {**rows[-1], "deleted_at": NOON}],
        "passing": [*rows[:-1], {**rows[-1], "rejected_reason": "unreadable"}],
        "borders": [{**rows[0], "uri": "000c", "camera_id": ""}, *rows[1:]],
    }
    digests = {base, *(digest_of_inventory(table(*changed)) for changed in others.values())}
    assert len(digests) == len(others) + 1
    # Size, file time and a lasting reason do not make it another image.
    for changes in ({"byte_size": 7}, {"modified_at": NOON + timedelta(1)}):
        assert digest_of_inventory(table(*({**r, **changes} for r in rows))) == base
    assert digest_of_inventory(table({**rows[0], "rejected_reason": "zero_bytes"})) == (
        digest_of_inventory(table(rows[0]))
    )


def test_a_digest_does_not_depend_on_batches() -> None:
    whole = table(*(row(f"{n:03}", n) for n in range(50)))
    parts = DayDigest()
    for batch in whole.to_batches(max_chunksize=7):
        parts.add(batch, "rejected_reason")
    assert parts.hexdigest() == digest_of_inventory(whole)
    # It is stored, so that it may never change: a release that makes another must read days again.
    assert digest_of_inventory(table(row("a"))) == "7df27be5867f534bf65b32b1ad63ad5f"
