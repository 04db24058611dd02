"""The plan of a night: what has to be recognised, in shards of one day.

It lies in the run's folder: ``plan.parquet`` with the images, a row group holding some shards of
one day; ``plan-shards.parquet`` with their keys; ``plan-marks.parquet`` with images that were
deleted or are back; and ``plan.json``, by which it is complete. Who works on a shard reads its row
group and no other.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.archive.known import INVENTORY_SCHEMA, of_days
from platemill.documents import write_json
from platemill.errors import ConfigurationError
from platemill.failpoints import failpoint
from platemill.lake.identity import IDENTITY, PASSING
from platemill.lake.inventory import rows_by_day
from platemill.recognize.cuts import cut, in_order, shard_keys
from platemill.schema import SCHEMA_VERSION
from platemill.warehouse.facts import MARKS, PlannedChanges

__all__ = [
    "PLAN_FILES",
    "PLAN_SCHEMA",
    "DayPlan",
    "Plan",
    "PlannedImage",
    "Shard",
    "bytes_by_day",
    "make_plan",
    "plan_day",
    "waiting_of",
    "write_plan",
]


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image to recognise, with what the inventory says of it.

    ``rejected_reason`` is set if it is known already that it cannot be used; ``offset`` is set for
    a member of a tar or zip; ``attempts`` says how often earlier runs tried it.
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
    attempts: int = 0


_FIELDS: Final[list[Any]] = [
    *(INVENTORY_SCHEMA.field(n) for n in PlannedImage.__slots__ if n in INVENTORY_SCHEMA.names),
    pa.field("attempts", pa.int64(), nullable=False),
]
PLAN_SCHEMA: Final = pa.schema(_FIELDS)
_SHARD_FIELDS: Final[list[Any]] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("day", pa.date32(), nullable=False),
    pa.field("group", pa.int32(), nullable=False),
    pa.field("first_row", pa.int64(), nullable=False),
    pa.field("images", pa.int32(), nullable=False),
]
_SHARDS: Final = pa.schema(_SHARD_FIELDS)
_GROUP_ROWS: Final = 65_536
_KEPT_GROUPS: Final = 4
_IMAGES_FILE: Final = "plan.parquet"
_SHARDS_FILE: Final = "plan-shards.parquet"
_MARKS_FILE: Final = "plan-marks.parquet"
_DOCUMENT: Final = "plan.json"
PLAN_FILES: Final = (_IMAGES_FILE, _SHARDS_FILE, _MARKS_FILE)


@dataclass(frozen=True, slots=True)
class Shard:
    """Images of one day that are recognised and recorded together.

    Args:
        key: hash of its images, the pipeline version and the schema version.
        day: their UTC day.
        group: the row group that holds its rows.
        first_row: where they start in it.
        images: how many they are.
    """

    key: str
    day: date
    group: int
    first_row: int
    images: int


class Groups(Protocol):
    """The row groups of a plan: ``PLAN_SCHEMA``."""

    def __len__(self) -> int: ...

    def __getitem__(self, group: int, /) -> pa.Table: ...


@dataclass(frozen=True, eq=False)
class Plan:
    """What a night recognises.

    Args:
        shards: in the order of their rows; a shard's rows lie together.
        groups: the images.
        pipeline_version: what they are recognised with.
        changes: what of the facts changes besides.
        inventory: number of the saved inventory that was planned from; 0 for none.
    """

    shards: tuple[Shard, ...]
    groups: Groups
    pipeline_version: str
    changes: PlannedChanges = field(default_factory=PlannedChanges)
    inventory: int = 0

    @cached_property
    def _by_key(self) -> dict[str, Shard]:
        return {shard.key: shard for shard in self.shards}

    @cached_property
    def total(self) -> int:
        """Images of all shards."""
        return sum(shard.images for shard in self.shards)

    @property
    def days(self) -> tuple[date, ...]:
        """Days with images to recognise, sorted."""
        return tuple(sorted({shard.day for shard in self.shards}))

    @property
    def touched_days(self) -> tuple[date, ...]:
        """Days whose facts may change, sorted."""
        marked = set(self.changes.marks["day"].unique().to_pylist())
        left = self.changes.left if self.shards else frozenset[date]()
        return tuple(sorted({*self.days, *left, *marked}))

    def without(self, days: Collection[date]) -> Plan:
        """This plan, less what it would do on some days; their images wait for another one."""
        marks = self.changes.marks
        there: Any = pc.is_in(marks["day"], value_set=pa.array(sorted(days), pa.date32()))
        changes = replace(self.changes, marks=marks.filter(pc.invert(there)))
        shards = tuple(shard for shard in self.shards if shard.day not in days)
        return replace(self, shards=shards, changes=changes)

    @property
    def table(self) -> pa.Table:
        """The images of all shards in order; reads everything."""
        groups = [self.groups[group] for group in range(len(self.groups))]
        return pa.concat_tables([PLAN_SCHEMA.empty_table(), *groups])

    def images(self, key: str) -> list[PlannedImage]:
        """The images of a shard, in order.

        Raises:
            KeyError: the plan has no such shard.
        """
        shard = self._by_key[key]
        rows = self.groups[shard.group].slice(shard.first_row, shard.images)
        return [PlannedImage(**row) for row in rows.to_pylist()]

    def save(self, folder: Path) -> None:
        """Write the plan into a run's folder."""
        groups = (self.groups[group] for group in range(len(self.groups)))
        with pq.ParquetWriter(folder / _IMAGES_FILE, PLAN_SCHEMA, compression="zstd") as writer:
            for group in groups:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
        self.save_document(folder)

    def save_document(self, folder: Path) -> None:
        """Write what is beside the images, at last ``plan.json``."""
        rows = [(s.key, s.day, s.group, s.first_row, s.images) for s in self.shards]
        columns: list[Any] = [
            pa.array([row[place] for row in rows], kind.type) for place, kind in enumerate(_SHARDS)
        ]
        shards = pa.Table.from_arrays(columns, schema=_SHARDS)
        pq.write_table(shards, folder / _SHARDS_FILE, compression="zstd")
        pq.write_table(self.changes.marks, folder / _MARKS_FILE, compression="zstd")
        failpoint("plan.document.before")
        document = {
            "pipeline_version": self.pipeline_version,
            "schema_version": SCHEMA_VERSION,
            "images": self.total,
            "inventory": self.inventory,
            "generation": self.changes.base,
            "left": sorted(map(str, self.changes.left)),
        }
        write_json(folder / _DOCUMENT, document)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; the images are read when they are asked for.

        Raises:
            ConfigurationError: there is no plan, or it was made with another schema.
        """
        try:
            document = json.loads((folder / _DOCUMENT).read_text())
        except FileNotFoundError:
            raise ConfigurationError(f"{folder} holds no plan; start a new run") from None
        if document["schema_version"] != SCHEMA_VERSION:
            raise ConfigurationError(
                f"the plan in {folder} was made with schema {document['schema_version']}, this is "
                f"{SCHEMA_VERSION}; start a new run"
            )
        table = pq.read_table(folder / _SHARDS_FILE, schema=_SHARDS)
        columns = [table[name].to_pylist() for name in _SHARDS.names]
        changes = PlannedChanges(
            base=document["generation"],
            left=frozenset(map(date.fromisoformat, document["left"])),
            marks=pq.read_table(folder / _MARKS_FILE, schema=MARKS),
        )
        return cls(
            tuple(map(Shard, *columns)),
            _FileGroups(folder / _IMAGES_FILE),
            document["pipeline_version"],
            changes,
            document["inventory"],
        )


def bytes_by_day(folder: Path) -> dict[date, int]:
    """The size of the encoded images of a saved plan, by day."""
    found: dict[date, int] = {}
    with pq.ParquetFile(folder / _IMAGES_FILE) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=["day", "byte_size"])
            day = rows["day"][0].as_py()
            found[day] = found.get(day, 0) + pc.sum(rows["byte_size"]).as_py()
    return found


class _FileGroups:
    """The row groups of a saved plan; a few that were asked for last are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self._path)

    def __len__(self) -> int:
        return int(self._file.num_row_groups)

    def __getitem__(self, group: int, /) -> pa.Table:
        if group not in self._kept:
            self._kept[group] = self._file.read_row_group(group).cast(PLAN_SCHEMA)
        self._kept.move_to_end(group)
        while len(self._kept) > _KEPT_GROUPS:
            self._kept.popitem(last=False)
        return self._kept[group]


@dataclass(frozen=True)
class DayPlan:
    """A day's images in order, ``PLAN_SCHEMA``, and where its shards begin, with their keys."""

    day: date
    rows: pa.Table
    starts: Sequence[int]
    keys: Sequence[str]

    def groups(self) -> Iterator[tuple[pa.Table, list[tuple[str, int, int]]]]:
        """Row groups of whole shards, each with its shards: key, first row, images."""
        shard = 0
        while shard < len(self.keys):
            first = self.starts[shard]
            shards: list[tuple[str, int, int]] = []
            while shard < len(self.keys) and (
                not shards or self.starts[shard + 1] - first <= _GROUP_ROWS
            ):
                start, end = self.starts[shard : shard + 2]
                shards.append((self.keys[shard], start - first, end - start))
                shard += 1
            yield self.rows.slice(first, self.starts[shard] - first), shards


def plan_day(waiting: pa.Table, day: date, pipeline_version: str, shard_images: int) -> DayPlan:
    """Divide a day's images into shards.

    Args:
        waiting: ``PLAN_SCHEMA``, images of the day in any order.
        day: their UTC day.
        pipeline_version: what they will be recognised with.
        shard_images: most images in a shard.
    """
    rows = in_order(waiting)
    starts = cut(rows["image_id"], shard_images)
    return DayPlan(day, rows, starts, shard_keys(rows, starts, (SCHEMA_VERSION, pipeline_version)))


def write_plan(folder: Path, days: Iterable[DayPlan]) -> tuple[tuple[Shard, ...], Groups]:
    """Write the images of a plan, a day in memory at a time; ``Plan`` takes what it returns."""
    shards: list[Shard] = []
    path = folder / _IMAGES_FILE
    count = 0
    with pq.ParquetWriter(
        path, PLAN_SCHEMA, compression="lz4", use_dictionary=["camera_id", "time_source"]
    ) as writer:
        for planned in days:
            for rows, found in planned.groups():
                writer.write_table(rows, row_group_size=rows.num_rows)
                shards += [Shard(key, planned.day, count, *place) for key, *place in found]
                count += 1
    failpoint("plan.images.after")
    return tuple(shards), _FileGroups(path)


def make_plan(
    inventory: pa.Table,
    done: pa.Table,
    pipeline_version: str,
    shard_images: int,
    *,
    days: frozenset[date] | None = None,
    again: frozenset[str] = frozenset(),
) -> Plan:
    """Choose what has to be recognised and divide it into shards, in memory.

    An image is done if the current generation has a row of this pipeline version with the same
    bytes, camera and time. One that had vanished or could not be read is tried again as soon as an
    inventory finds it well. One that is deleted is not waiting.

    Args:
        inventory: ``INVENTORY_SCHEMA``, each URI once, in any order.
        done: ``uri, image_id, camera_id, captured_at, reason`` and perhaps ``attempts`` of the
            current generation's images under this pipeline version.
        pipeline_version: what the images will be recognised with.
        shard_images: most images in a shard; shards have about half to two thirds of it.
        days: only images of these UTC days; None: of all.
        again: URIs of images that are recognised although they are done.
    """
    wanted = of_days(inventory, days)
    waiting = waiting_of(wanted, done, again).sort_by("day").combine_chunks()
    shards: list[Shard] = []
    groups: list[pa.Table] = []
    for day, part in rows_by_day(waiting).items():
        planned = plan_day(part, day, pipeline_version, shard_images)
        for rows, found in planned.groups():
            shards += [Shard(key, planned.day, len(groups), *place) for key, *place in found]
            groups.append(rows)
    return Plan(tuple(shards), groups, pipeline_version)


def waiting_of(
    inventory: pa.Table, done: pa.Table, again: frozenset[str] = frozenset()
) -> pa.Table:
    """The images that have to be recognised: ``PLAN_SCHEMA``. Arguments as in ``make_plan``."""
    found, is_same, finished = _compare(inventory, done)
    if again:
        named: Any = pc.is_in(inventory["uri"], value_set=pa.array(sorted(again), pa.string()))
        finished &= ~named.to_numpy(zero_copy_only=False)
    there: Any = pc.is_null(inventory["deleted_at"])
    waits = ~finished & there.to_numpy(zero_copy_only=False)
    attempts = np.zeros(inventory.num_rows, np.int64)
    if "attempts" in done.column_names:
        same = np.flatnonzero(is_same)
        attempts[same] = done["attempts"].take(pa.array(found[same])).to_numpy()
    columns = inventory.append_column("attempts", pa.array(attempts))
    return columns.filter(pa.array(waits)).select(PLAN_SCHEMA.names).cast(PLAN_SCHEMA)


def _compare(
    inventory: pa.Table, done: pa.Table
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For each image its row in ``done`` or -1, whether it is the same one, and done: all [N]."""
    index: Any = pc.fill_null(pc.index_in(inventory["uri"], value_set=done["uri"]), -1)
    found: npt.NDArray[np.int64] = index.to_numpy().astype(np.int64)
    is_same, finished = np.zeros((2, inventory.num_rows), np.bool_)
    places = np.flatnonzero(found >= 0)
    now = inventory.select([*IDENTITY, "rejected_reason"]).take(pa.array(places))
    then = done.select([*IDENTITY, "reason"]).take(pa.array(found[places]))
    same: Any = pc.is_valid(now["uri"])
    for name in IDENTITY:
        same = pc.and_(same, pc.equal(now[name], then[name]))
    passing: Any = pc.is_in(then["reason"], value_set=pa.array(PASSING))
    again = pc.and_(passing, pc.is_null(now["rejected_reason"]))
    is_same[places] = same.to_numpy(zero_copy_only=False)
    finished[places] = pc.and_not(same, again).to_numpy(zero_copy_only=False)
    return found, is_same, finished
