"""What no kept generation and no run needs any more, and its removal in an order that may stop.

Why a file may go although a run may have been stopped anywhere and go on at any time:

- A file's name begins with the publish token of whoever wrote it. He alone names it in a manifest
  for the first time; he commits once, and not at all once somebody with a greater token has
  (``generation.refuse_fenced``). So a file that no manifest names, whose token is not greater than
  the current generation's, will never be named.
- Files that a manifest named are named again by one that is built on it, which is the current one,
  or by a rollback, which says so first (``lake.intents``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from platemill.errors import RetryableError
from platemill.failpoints import failpoint
from platemill.lake.generation import Generation, Kind, written_under
from platemill.lake.intents import Aim, Intent, intents
from platemill.lake.inventory import load_inventory, newest_inventory
from platemill.lake.lake import Lake
from platemill.lake.lease import spent_links
from platemill.lake.shards import ShardRecord
from platemill.lake.storage import Entry
from platemill.schema import FACTS, LOGS

__all__ = ["Waste", "cached_waste", "doomed_generations", "find_waste", "remove_waste"]

_CHECK_EVERY = 200
_DATA = (*(table.name for table in FACTS), "tiles", "history", *(table.name for table in LOGS))


@dataclass(frozen=True)
class Waste:
    """Files of one kind, in the order in which they are to be removed."""

    kind: str
    entries: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(entry.bytes for entry in self.entries)


def doomed_generations(lake: Lake, keep: int, shown: Collection[int | None] = ()) -> list[int]:
    """The generations that a vacuum removes.

    Args:
        lake: the lake.
        keep: how many of the newest stay.
        shown: numbers that stay, too: what ``warehouse.duckdb`` and the online store show.
    """
    numbers = lake.numbers()
    if not numbers:
        return []
    declared = intents(lake.storage)
    stay = {*numbers[-keep:], *shown, *_restored(declared, lake.generation(numbers[-1]))}
    # What another vacuum said it would remove, it may be removing now.
    gone = {n for intent in declared if intent.aim is Aim.REMOVE for n in intent.generations}
    return [n for n in numbers[:-1] if n in gone or n not in stay]


def find_waste(
    lake: Lake,
    doomed: Collection[int],
    *,
    staged_before: datetime,
    planned: Collection[str] | None,
) -> list[Waste]:
    """What a vacuum removes, kind by kind, in the order in which it may be stopped.

    Args:
        lake: the lake.
        doomed: the generations that go.
        staged_before: shards that were recorded before this and are not merged are given up.
        planned: keys of shards that live runs plan; None: unknown, no shard is touched.
    """
    numbers = lake.numbers()
    if not numbers:
        return []
    kept = [lake.generation(number) for number in numbers if number not in set(doomed)]
    current = kept[-1]
    needed = {name for generation in kept for name in generation.files()}
    storage = lake.storage
    manifests = [entry for entry in storage.entries("_generations") if _number(entry) in doomed]
    found = [Waste("generations", _sorted(manifests))]
    for folder in _DATA:
        unnamed = [
            entry
            for entry in storage.entries(folder)
            if entry.name not in needed and written_under(entry.name) <= current.publish_token
        ]
        found.append(Waste(folder, _sorted(unnamed)))
    found += _staged_waste(lake, kept, staged_before, planned)
    found.append(Waste("inventory", _sorted(_inventory_waste(lake))))
    found.append(Waste("leases", tuple(spent_links(storage))))
    found.append(Waste("intents", _sorted(_spent_intents(lake, current))))
    return found


def remove_waste(lake: Lake, found: Sequence[Waste], check: Callable[[], object]) -> None:
    """Remove it. May be killed at any moment, and run again.

    A generation's manifest goes before its files and a shard's record before its rows, so that
    nothing that is left speaks of what is gone.

    Args:
        lake: the lake.
        found: what ``find_waste`` found.
        check: called before the first removal, and now and then; raises if the lease is lost.
    """
    count = 0
    for waste in found:
        for entry in waste.entries:
            if count % _CHECK_EVERY == 0:
                check()
            failpoint("vacuum.file.before")
            lake.storage.remove(entry.name)
            failpoint("vacuum.file.after")
            count += 1


def cached_waste(lake: Lake) -> list[Entry]:
    """What is kept here of a bucket and is not of a generation that is left."""
    kept = [lake.generation(number) for number in lake.numbers()]
    needed = {name for generation in kept for name in generation.files()}
    storage = lake.storage
    return [
        entry
        for entry in storage.cached()
        if entry.name not in needed and not entry.name.startswith("_inventory/")
    ]


def _restored(declared: Iterable[Intent], current: Generation) -> set[int]:
    """What rollbacks that may still commit bring back."""
    return {
        number
        for intent in declared
        if intent.aim is Aim.RESTORE and intent.token > current.publish_token
        for number in intent.generations
    }


def _spent_intents(lake: Lake, current: Generation) -> list[Entry]:
    """Intents of those who are done or can commit nothing any more."""
    there = set(lake.numbers())
    spent = {
        intent.token
        for intent in intents(lake.storage)
        if (intent.aim is Aim.REMOVE and not intent.generations & there)
        or (intent.aim is Aim.RESTORE and intent.token <= current.publish_token)
    }
    return [e for e in lake.storage.entries("_intents") if written_under(e.name) in spent]


def _staged_waste(
    lake: Lake, kept: Sequence[Generation], before: datetime, planned: Collection[str] | None
) -> list[Waste]:
    """Shards that were merged, or given up; and rows of attempts that lost."""
    if planned is None:
        return []
    current = kept[-1]
    merged = _merged(kept) - set(current.shards)
    records = {_stem(entry): entry for entry in lake.storage.entries("_shards")}
    rows: dict[str, list[Entry]] = {}
    for entry in lake.storage.entries("_staging"):
        rows.setdefault(PurePosixPath(entry.name).parts[1], []).append(entry)
    gone_records: list[Entry] = []
    gone_rows: list[Entry] = []
    for key in sorted({*records, *rows} - set(planned)):
        record = [records[key]] if key in records else []
        own = rows.get(key, [])
        newest = max(entry.modified_at for entry in record + own)
        if key in merged or (key not in current.shards and newest < before):
            gone_records += record
            gone_rows += own
        elif record:
            winner = _rows_of(lake.shard(key))
            if winner <= {entry.name for entry in own}:
                gone_rows += [entry for entry in own if entry.name not in winner]
            else:
                # Its rows are gone: it would stand in the way of those who recognise it again.
                gone_records += record
                gone_rows += own
    return [Waste("shards", _sorted(gone_records)), Waste("staged rows", _sorted(gone_rows))]


def _merged(kept: Sequence[Generation]) -> set[str]:
    """Keys of the shards whose rows are in the current generation, as far as manifests tell."""
    by_number = {generation.number: generation for generation in kept}
    merged: set[str] = set()
    at: int | None = kept[-1].number
    while at is not None and at in by_number:
        generation = by_number[at]
        merged |= set(generation.shards)
        at = generation.restores if generation.kind is Kind.ROLLBACK else generation.parent
    return merged


def _rows_of(record: ShardRecord | None) -> set[str]:
    return set() if record is None else {record.images_path, record.recognitions_path} - {""}


def _inventory_waste(lake: Lake) -> list[Entry]:
    """Files that were written for an inventory's number which another run took."""
    storage = lake.storage
    newest = newest_inventory(storage).number
    entries = list(storage.entries("_inventory"))
    needed: set[str] = set()
    for manifest in entries:
        if manifest.name.endswith(".json"):
            # One that is dropped meanwhile leaves no file that a newer one does not name.
            with contextlib.suppress(RetryableError):
                needed |= load_inventory(storage, _number(manifest)).files()
    return [
        entry
        for entry in entries
        if entry.name.endswith(".parquet")
        and entry.name not in needed
        and written_under(entry.name) <= newest
    ]


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _stem(entry: Entry) -> str:
    return PurePosixPath(entry.name).stem


def _number(entry: Entry) -> int:
    return int(_stem(entry))
