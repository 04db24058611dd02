"""The plan of a night: what has to be recognised, in shards of one day.

A day's images are sorted by the file that they lie in and their place there, then cut into shards
where an image's own hash says so. An image that arrives while a night is repeated therefore moves
the borders of its own shard only, and the shards beside it keep their keys and what was done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.archive.known import INVENTORY_SCHEMA, containers_of, of_days
from platemill.documents import write_json
from platemill.errors import ConfigurationError
from platemill.schema import SCHEMA_VERSION

__all__ = ["PLAN_SCHEMA", "Plan", "PlannedImage", "Shard", "make_plan"]

_FIELDS: Final[list[Any]] = [
    *INVENTORY_SCHEMA,
    pa.field("shard_key", pa.string(), nullable=False),
    pa.field("position", pa.int32(), nullable=False),
]
PLAN_SCHEMA: Final = pa.schema(_FIELDS)
_KEY_BYTES: Final = 16
# Quarantined for what was so when they were read; if the inventory sees them, they may be well now.
_PASSING: Final = ("unreadable", "vanished")
_IDENTITY: Final = ["uri", "image_id", "camera_id", "captured_at"]


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image to recognise, with what the inventory says of it.

    ``rejected_reason`` is set if it is known already that it cannot be used; ``offset`` is set for
    a member of a tar or zip.
    """

    uri: str
    image_id: str
    camera_id: str
    captured_at: datetime
    day: date
    byte_size: int
    modified_at: datetime
    time_source: str
    offset: int | None = None
    rejected_reason: str | None = None
    rejected_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Images of one day that are recognised and recorded together.

    Args:
        key: hash of its images, the pipeline version and the schema version.
        day: their UTC day.
        first_row: where its rows start in the plan's table.
        images: how many rows it has.
    """

    key: str
    day: date
    first_row: int
    images: int


@dataclass(frozen=True)
class Plan:
    """What a night recognises.

    Args:
        table: ``PLAN_SCHEMA``; a shard's rows lie together, in the order of ``position``.
        shards: in the order of their rows.
        pipeline_version: what the images are recognised with.
    """

    table: pa.Table
    shards: tuple[Shard, ...]
    pipeline_version: str
    schema_version: str = field(default=SCHEMA_VERSION)

    @cached_property
    def _by_key(self) -> dict[str, Shard]:
        return {shard.key: shard for shard in self.shards}

    def images(self, key: str) -> list[PlannedImage]:
        """The images of a shard, in order.

        Raises:
            KeyError: the plan has no such shard.
        """
        shard = self._by_key[key]
        names = list(PlannedImage.__slots__)
        rows = self.table.select(names).slice(shard.first_row, shard.images)
        return [PlannedImage(**row) for row in rows.to_pylist()]

    def save(self, folder: Path) -> None:
        """Write ``plan.parquet``, then ``plan.json``, by which the plan is complete."""
        pq.write_table(self.table, folder / "plan.parquet", compression="zstd")
        document = {
            "pipeline_version": self.pipeline_version,
            "schema_version": self.schema_version,
            "shards": [
                {
                    "key": shard.key,
                    "day": shard.day.isoformat(),
                    "first_row": shard.first_row,
                    "images": shard.images,
                }
                for shard in self.shards
            ],
        }
        write_json(folder / "plan.json", document)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            ConfigurationError: there is no plan, or it was made with another schema.
        """
        try:
            document = json.loads((folder / "plan.json").read_text())
        except FileNotFoundError:
            raise ConfigurationError(f"{folder} holds no plan; start a new run") from None
        if document["schema_version"] != SCHEMA_VERSION:
            raise ConfigurationError(
                f"the plan in {folder} was made with schema {document['schema_version']}, this is "
                f"{SCHEMA_VERSION}; start a new run"
            )
        shards = tuple(
            Shard(s["key"], date.fromisoformat(s["day"]), s["first_row"], s["images"])
            for s in document["shards"]
        )
        table = pq.read_table(folder / "plan.parquet", schema=PLAN_SCHEMA)
        return cls(table, shards, document["pipeline_version"], document["schema_version"])


def make_plan(
    inventory: pa.Table,
    done: pa.Table,
    pipeline_version: str,
    shard_images: int,
    *,
    days: frozenset[date] | None = None,
) -> Plan:
    """Choose what has to be recognised and divide it into shards.

    An image is done if the current generation has a row of this pipeline version with the same
    bytes, camera and time. One that had vanished or could not be read is tried again as soon as an
    inventory finds it well.

    Args:
        inventory: ``INVENTORY_SCHEMA``, each URI once, in any order.
        done: ``uri, image_id, camera_id, captured_at, reason`` of the current generation's images
            under this pipeline version.
        pipeline_version: what the images will be recognised with.
        shard_images: most images in a shard; shards have about half to two thirds of it.
        days: only images of these UTC days; None: of all.
    """
    waiting = of_days(inventory, days)
    waiting = waiting.filter(pa.array(~_is_done(waiting, done)))
    waiting = _in_order(waiting)
    cuts = _cuts(waiting, shard_images)
    keys, shards = [], []
    positions = np.zeros(waiting.num_rows, np.int32)
    for first, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        rows = waiting.slice(first, end - first)
        key = _shard_key(rows, pipeline_version)
        shards.append(Shard(key, rows["day"][0].as_py(), first, end - first))
        keys.extend([key] * (end - first))
        positions[first:end] = np.arange(end - first)
    columns: list[Any] = [*waiting.columns, pa.array(keys, pa.string()), pa.array(positions)]
    table = pa.Table.from_arrays(columns, schema=PLAN_SCHEMA)
    return Plan(table, tuple(shards), pipeline_version)


def _is_done(inventory: pa.Table, done: pa.Table) -> npt.NDArray[np.bool_]:
    """Whether each row of the inventory needs nothing: bool [N]."""
    result = np.zeros(inventory.num_rows, np.bool_)
    found: Any = pc.fill_null(pc.index_in(inventory["uri"], value_set=done["uri"]), -1)
    rows: npt.NDArray[np.int32] = found.to_numpy()
    places = np.flatnonzero(rows >= 0)
    now = inventory.select([*_IDENTITY, "rejected_reason"]).take(places)
    then = done.select([*_IDENTITY, "reason"]).take(rows[places])
    same: Any = pc.is_valid(now["uri"])
    for name in _IDENTITY:
        same = pc.and_(same, pc.equal(now[name], then[name]))
    passing: Any = pc.is_in(then["reason"], value_set=pa.array(_PASSING))
    well_now: Any = pc.is_null(now["rejected_reason"])
    again = pc.and_(passing, well_now)
    result[places] = pc.and_not(same, again).to_numpy()
    return result


def _in_order(images: pa.Table) -> pa.Table:
    """By day, then by the file that they lie in and their place there, so that reading goes on."""
    keyed = images.append_column("_file", containers_of(images["uri"]))
    order = [(name, "ascending") for name in ("day", "_file", "offset", "uri")]
    return keyed.sort_by(order).drop_columns(["_file"]).combine_chunks()


def _cuts(images: pa.Table, shard_images: int) -> npt.NDArray[np.int64]:
    """Where shards begin, and the end: int64 [shards + 1], ascending from 0."""
    days = images["day"].cast(pa.int32()).to_numpy()
    # The first 32 bits of the hash; each value is as likely as any other.
    ids: list[Any] = pc.utf8_slice_codeunits(images["image_id"], 0, 8).to_pylist()
    wanted = max(1, shard_images // 2)
    least = max(1, shard_images // 4)
    cuts = [0]
    for row in range(1, images.num_rows):
        size = row - cuts[-1]
        if (
            days[row] != days[row - 1]
            or size >= shard_images
            or (size >= least and int(ids[row - 1], 16) % wanted == 0)
        ):
            cuts.append(row)
    if images.num_rows:
        cuts.append(images.num_rows)
    return np.array(cuts, np.int64)


def _shard_key(rows: pa.Table, pipeline_version: str) -> str:
    """The hash by which a shard is recognised, whoever plans it and whenever.

    Camera and time are in it beside the images, since they are in the rows that the shard gives.
    """
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    digest.update(json.dumps([SCHEMA_VERSION, pipeline_version]).encode())
    for row in _identities(rows):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _identities(rows: pa.Table) -> Iterator[Sequence[object]]:
    columns = rows.select(_IDENTITY)
    columns = columns.set_column(3, "captured_at", columns["captured_at"].cast(pa.int64()))
    return zip(*(column.to_pylist() for column in columns.columns), strict=True)
