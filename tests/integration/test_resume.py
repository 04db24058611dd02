"""A night that is run again reads what is left of the archive, and not what was done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, put
from small_lake import settings_for
from small_nights import Killed, Nights

from platemill.archive.reader import OpenFile
from platemill.lake import open_lake
from platemill.recognize.plan import Plan

DAYS, A_DAY = 4, 300


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes that were really read out of the archive, by file."""
    read: Counter[str] = Counter()
    original = OpenFile.blocks

    def blocks(self: OpenFile, *where: Any) -> Any:
        for block in original(self, *where):
            read[self.location.path] += len(block)
            yield block

    monkeypatch.setattr(OpenFile, "blocks", blocks)
    return read


def test_with_nearly_all_shards_recorded_a_rerun_reads_next_to_nothing(
    tmp_path: Path, read_bytes: Counter[str]
) -> None:
    root = tmp_path / "photos"
    size = 0
    for day in range(1, DAYS + 1):
        for number in range(A_DAY):
            data = encoded(seed=1000 * day + number, width=16, height=16)
            size += len(data)
            put(root / f"gate/2026/04/{day:02}/{number:06}.jpg", data)
    nights = Nights(settings_for(tmp_path / "home"), [root], shard_images=16, facts_only=True)
    with pytest.raises(Killed):
        nights.run(die_after="recognise")
    # Once for their hashes, once to recognise them.
    assert sum(read_bytes.values()) == 2 * size
    lake = open_lake(nights.settings)
    shards = Plan.load(nights.settings.runs / "r1").shards
    assert len(shards) >= 100
    missing = shards[len(shards) // 2]
    record = lake.shard(missing.key)
    assert record is not None
    lake.forget_shard(record)
    read_bytes.clear()
    found, plan = nights.run()
    assert (found.found.bytes_read, found.new) == (0, 0)
    assert plan.shards == shards
    assert len(read_bytes) == missing.images
    assert 0 < sum(read_bytes.values()) <= 0.02 * size
    read_bytes.clear()
    _, plan = nights.run()
    assert plan.shards == ()
    assert not read_bytes
