"""A plan is a partition of what is not done, and the same whatever order the inventory has."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platemill.recognize.plan import make_plan
from platemill.schema import IMAGES, INVENTORY

START = datetime(2026, 3, 1, tzinfo=UTC)
DONE = ["uri", "image_id", "camera_id", "captured_at", "reason"]


@st.composite
def inventories(draw: st.DrawFn) -> list[dict[str, object]]:
    count = draw(st.integers(0, 120))
    seed = random.Random(draw(st.integers(0, 2**32)))
    rows = []
    for n in range(count):
        time = START + timedelta(hours=seed.randrange(80))
        inside = seed.random() < 0.3
        uri = f"tar://{n}.jpg::file:///{seed.randrange(3)}.tar" if inside else f"file:///{n}.jpg"
        rejected = "zero_bytes" if seed.random() < 0.1 else None
        rows.append(
            {
                "uri": uri,
                "image_id": f"{seed.getrandbits(128):032x}",
                "camera_id": f"c{seed.randrange(3)}",
                "captured_at": time,
                "day": time.date(),
                "byte_size": n,
                "modified_at": time,
                "time_source": "file",
                "offset": n * 512 if inside else None,
                "rejected_reason": rejected,
                "reason": rejected,
            }
        )
    return rows


# A busy machine is slow to make examples; that says nothing about the code.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=inventories(),
    shard_images=st.integers(1, 40),
    done_share=st.floats(0, 1),
    days=st.none() | st.frozensets(st.dates(date(2026, 3, 1), date(2026, 3, 5))),
    seed=st.integers(0, 1000),
)
def test_a_plan_is_a_partition_whatever_the_order(
    rows: list[dict[str, object]],
    shard_images: int,
    done_share: float,
    days: frozenset[date] | None,
    seed: int,
) -> None:
    done = [row for row in rows if random.Random(str(row["uri"])).random() < done_share]
    schema = pa.schema([IMAGES.arrow.field(name) for name in DONE])
    done_table = pa.Table.from_pylist(done, schema=schema)
    wanted = {row["uri"] for row in rows if days is None or row["day"] in days}
    wanted -= {row["uri"] for row in done}
    table = pa.Table.from_pylist(rows, schema=INVENTORY.arrow)
    plan = make_plan(table, done_table, "p", shard_images, days=days)
    planned = [image for shard in plan.shards for image in plan.images(shard.key)]
    assert sorted(image.uri for image in planned) == sorted(map(str, wanted))
    for shard in plan.shards:
        images = plan.images(shard.key)
        assert 0 < len(images) <= shard_images
        assert {image.day for image in images} == {shard.day}
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = make_plan(
        pa.Table.from_pylist(shuffled, schema=INVENTORY.arrow),
        done_table.take(
            pa.array(random.Random(seed).sample(range(len(done)), len(done)), pa.int64())
        ),
        "p",
        shard_images,
        days=days,
    )
    assert again.shards == plan.shards
    assert again.table == plan.table
