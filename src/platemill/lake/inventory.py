"""What the archives held when they were last looked at, a file a day, said by numbered manifests.

::

    _inventory/00000007.json                          the manifests; the greatest is the newest
    _inventory/day=2026-05-01/00000007-<hash>.parquet a day's images, in the order of their URIs

A manifest says for each day its file and a digest of the images in it (``identity``). Of two runs
that save at once one takes the number; the other merges what it found into what that one wrote. A
file's name begins with the number that its writer tried to take, so a file is referred to by the
manifests from that number on alone, and goes with the last of them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.errors import ConfigurationError, RetryableError
from platemill.failpoints import failpoint
from platemill.lake.files import write_parquet
from platemill.lake.identity import digest_of_inventory
from platemill.lake.storage import Storage
from platemill.schema import INVENTORY, SCHEMA_VERSION

__all__ = [
    "DayEntry",
    "SavedInventory",
    "load_inventory",
    "newest_inventory",
    "preview_inventory",
    "rows_by_day",
    "save_inventory",
]

_FOLDER: Final = "_inventory"
_KEPT_MANIFESTS: Final = 16
_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class DayEntry:
    """A day's file: its name in the lake, rows, bytes, and the digest of its images."""

    path: str
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class SavedInventory:
    """What a manifest says. ``number`` is 0 before the first."""

    storage: Storage
    number: int = 0
    days: Mapping[date, DayEntry] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Images of all days, deleted ones too."""
        return sum(entry.rows for entry in self.days.values())

    def read(self, day: date, columns: Sequence[str] | None = None) -> pa.Table:
        """A day's rows in the order of their URIs, all columns of ``schema.INVENTORY`` or some.

        Raises:
            RetryableError: many inventories were saved since, and the file is gone.
        """
        names = INVENTORY.arrow.names if columns is None else list(columns)
        nothing = self.empty(names)
        entry = self.days.get(day)
        if entry is None:
            return nothing
        try:
            return pq.read_table(
                self.storage.locate(entry.path), columns=names, partitioning=None
            ).cast(nothing.schema)
        except FileNotFoundError:
            raise RetryableError(
                f"inventory {self.number} of {self.storage.url} was superseded more than "
                f"{_KEPT_MANIFESTS} times and its file {entry.path} is gone; run again"
            ) from None

    def known(self) -> pa.Table:
        """The rows of all days, each URI once: what a new inventory is compared with."""
        tables = [self.read(day) for day in sorted(self.days)]
        return pa.concat_tables([self.empty(), *tables])

    def named(self, uris: Iterable[str]) -> pa.Table:
        """The rows of these URIs, on whatever day they are."""
        wanted = pa.array(sorted(set(uris)), pa.string())
        tables = [self.empty()]
        for day in sorted(self.days):
            there: Any = pc.is_in(self.read(day, ["uri"])["uri"], value_set=wanted)
            if pc.any(there).as_py():
                tables.append(self.read(day).filter(there))
        return pa.concat_tables(tables)

    def empty(self, columns: Sequence[str] | None = None) -> pa.Table:
        """No rows, of all columns or some."""
        names = INVENTORY.arrow.names if columns is None else columns
        return pa.schema([INVENTORY.arrow.field(name) for name in names]).empty_table()

    def files(self) -> set[str]:
        """The names of all files that it needs."""
        return {entry.path for entry in self.days.values()}


@dataclass(frozen=True)
class _Preview(SavedInventory):
    """An inventory of which some days were not written. ``held``: their rows."""

    held: Mapping[date, pa.Table] = field(default_factory=dict)

    def read(self, day: date, columns: Sequence[str] | None = None) -> pa.Table:
        """As of a saved one."""
        if day not in self.held:
            return super().read(day, columns)
        return self.held[day].select(INVENTORY.arrow.names if columns is None else list(columns))


def load_inventory(storage: Storage, number: int) -> SavedInventory:
    """A saved inventory by its number; 0 is the empty one before the first.

    Raises:
        ConfigurationError: it was written with another schema, or is none.
        RetryableError: it is gone, since many were saved after it.
    """
    if not number:
        return SavedInventory(storage)
    data = storage.read(_manifest(number))
    if data is None:
        raise RetryableError(
            f"inventory {number} of {storage.url} was superseded more than {_KEPT_MANIFESTS} "
            "times and is gone; run again"
        )
    try:
        document: dict[str, Any] = json.loads(data)
        version = document["schema_version"]
        days = document["days"]
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"the manifest {storage.url}/{_manifest(number)} cannot be read ({error}); remove it "
            f"to go back to inventory {number - 1}"
        ) from error
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"inventory {number} of {storage.url} was written with schema {version}, this release "
            f"reads schema {SCHEMA_VERSION}: name another home, where the archive is recognised "
            "anew, or use the release that wrote this one"
        )
    return SavedInventory(
        storage,
        number,
        {date.fromisoformat(day): DayEntry(**entry) for day, entry in days.items()},
    )


def newest_inventory(storage: Storage) -> SavedInventory:
    """The newest saved inventory; an empty one before the first.

    Raises:
        ConfigurationError: it was written with another schema, or cannot be read.
    """
    numbers = _numbers(storage)
    return load_inventory(storage, numbers[-1] if numbers else 0)


def save_inventory(
    storage: Storage, base: SavedInventory, delta: pa.Table, moved: pa.Table | None = None
) -> SavedInventory:
    """Merge what a run found into the newest inventory; its rows replace those of the same URI.

    Rows that it does not mention stay: it may have looked at some archives or days only. One that
    says nothing new is not written.

    Args:
        storage: the lake's files.
        base: what the run compared the archives with.
        delta: ``INVENTORY``, the rows that are not as ``base`` has them, each URI once.
        moved: ``uri, day`` of the rows of ``base`` that ``delta`` has on another day.

    Returns:
        The inventory that holds all of it, which other runs may have added to as well.
    """
    delta = _in_order(delta)
    if moved is None:
        moved = INVENTORY.arrow.empty_table()
    left_days = set(moved["day"].unique().to_pylist())
    parts = rows_by_day(delta)
    while True:
        newest = newest_inventory(storage)
        days = dict(newest.days)
        # Another run may have put any of the images anywhere since.
        since = {
            day for day in newest.days if day not in base.days or base.days[day] != newest.days[day]
        }
        for day in sorted(parts.keys() | left_days | since):
            here = parts.get(day, INVENTORY.arrow.empty_table())
            before = newest.read(day)
            gone = delta["uri"] if day in since else _gone(here, moved)
            entry = _merge_day(storage, newest, day, before, here, gone)
            if entry is None:
                days.pop(day, None)
            else:
                days[day] = entry
        if days == newest.days:
            return newest
        made = SavedInventory(storage, newest.number + 1, days)
        failpoint("inventory.manifest.before")
        if storage.create(_manifest(made.number), _to_json(made)):
            failpoint("inventory.manifest.after")
            _drop_old(storage, made.number)
            return made


def preview_inventory(base: SavedInventory, delta: pa.Table, moved: pa.Table) -> SavedInventory:
    """What ``save_inventory`` would save if nobody else saved meanwhile; nothing is written.

    Args:
        base: the newest inventory.
        delta: as for ``save_inventory``; its rows stay in memory.
        moved: as for ``save_inventory``.
    """
    parts = rows_by_day(_in_order(delta))
    days, held = dict(base.days), {}
    for day in sorted(parts.keys() | set(moved["day"].unique().to_pylist())):
        here = parts.get(day, INVENTORY.arrow.empty_table())
        before = base.read(day)
        rows = _merged(before, here, _gone(here, moved))
        if rows is None:
            continue
        if rows.num_rows:
            held[day] = rows
            days[day] = DayEntry("", rows.num_rows, 0, digest_of_inventory(rows))
        else:
            days.pop(day, None)
    return _Preview(base.storage, base.number, days, held)


def _in_order(delta: pa.Table) -> pa.Table:
    delta = delta.select(INVENTORY.arrow.names).cast(INVENTORY.arrow)
    return delta.sort_by([("day", "ascending"), ("uri", "ascending")]).combine_chunks()


def _gone(here: pa.Table, moved: pa.Table) -> Any:
    """The URIs whose rows on a day are replaced by others, or are on another day now."""
    return pa.chunked_array([*here["uri"].chunks, *moved["uri"].chunks], pa.string())


def _merge_day(
    storage: Storage,
    newest: SavedInventory,
    day: date,
    before: pa.Table,
    here: pa.Table,
    gone: Any,
) -> DayEntry | None:
    rows = _merged(before, here, gone)
    if rows is None:
        return newest.days.get(day)
    prefix = f"{_FOLDER}/day={day.isoformat()}/{newest.number + 1:08d}-"
    failpoint("inventory.day.before")
    entry = write_parquet(storage, prefix, INVENTORY.arrow, rows.to_batches(_BATCH_ROWS))
    if entry is None:
        return None
    return DayEntry(entry.path, entry.rows, entry.bytes, digest_of_inventory(rows))


def _merged(before: pa.Table, here: pa.Table, gone: Any) -> pa.Table | None:
    """A day's rows with others in the place of those that are gone; None: nothing changes."""
    stays = before.filter(pc.invert(pc.is_in(before["uri"], value_set=gone)))
    if stays.num_rows == before.num_rows and not here.num_rows:
        return None
    rows = here if not stays.num_rows else pa.concat_tables([stays, here]).sort_by("uri")
    rows = rows.combine_chunks()
    return None if rows.equals(before.combine_chunks()) else rows


def rows_by_day(rows: pa.Table) -> dict[date, pa.Table]:
    """A table's rows by their ``day``; they lie in the order of the days."""
    if not rows.num_rows:
        return {}
    days = rows["day"].cast(pa.int32()).to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), rows.num_rows]
    parts = (rows.slice(first, end - first) for first, end in pairwise(starts))
    return {part["day"][0].as_py(): part for part in parts}


def _drop_old(storage: Storage, newest: int) -> None:
    """Remove manifests that nobody reads any more, and the files that only they name."""
    numbers = [number for number in _numbers(storage) if number <= newest]
    old, kept = numbers[:-_KEPT_MANIFESTS], numbers[-_KEPT_MANIFESTS:]
    if not old:
        return
    # A run that saved since may be removing the same ones.
    with contextlib.suppress(RetryableError):
        needed = {name for number in kept for name in load_inventory(storage, number).files()}
        for number in old:
            for name in load_inventory(storage, number).files() - needed:
                storage.remove(name)
            storage.remove(_manifest(number))


def _numbers(storage: Storage) -> list[int]:
    names = [PurePosixPath(name) for name in storage.names(_FOLDER)]
    return sorted(
        int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdigit()
    )


def _manifest(number: int) -> str:
    return f"{_FOLDER}/{number:08d}.json"


def _to_json(inventory: SavedInventory) -> bytes:
    document = {
        "inventory": inventory.number,
        "schema_version": SCHEMA_VERSION,
        "days": {day.isoformat(): asdict(entry) for day, entry in sorted(inventory.days.items())},
    }
    return json.dumps(document, separators=(",", ":")).encode()
