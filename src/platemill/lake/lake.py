"""The lake of a deployment: generations and shard records.

::

    images/day=2026-05-01/<token>-<hash>.parquet    facts, one file a day
    recognitions/day=2026-05-01/<token>-<hash>.parquet
    tiles/<table>/<period>=<first day>/<token>-<hash>.parquet
    history/<table>/<period>=<first day>/<token>-<hash>.parquet   rows corrected since
    check_results/day=2026-05-02/<token>-<hash>.parquet   what the checks of a day's nights found
    run_costs/run_day=2026-05-02/<token>-<hash>.parquet   what the runs of a day took
    _generations/00000001.json                      the manifests; the greatest is current
    _shards/<key>.json                              one a shard, created by the attempt that won
    _staging/<key>/<attempt>-images.parquet         rows on their way to the facts
    _inventory/                                     what the archives held, see ``inventory``
    _leases/ _live/ _intents/                       who works on what, see ``lease``, ``intents``
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from platemill.errors import ConfigurationError, GenerationConflict
from platemill.lake.generation import Generation, refuse_fenced
from platemill.lake.shards import ShardRecord
from platemill.lake.storage import Storage
from platemill.schema import SCHEMA_VERSION

__all__ = ["Lake"]

_GENERATIONS = "_generations"
_SHARDS = "_shards"
_STAGING = "_staging"


class Lake:
    """The lake of a deployment. Holds no open file and no state of its own.

    Args:
        storage: its files; there need not be any yet.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @property
    def root(self) -> Path:
        """The folder where its files are read, absolute: the lake, or what is kept of a bucket."""
        return self.storage.root

    @property
    def url(self) -> str:
        """Where it is, for people."""
        return self.storage.url

    def numbers(self) -> list[int]:
        """The numbers of all generations, from the first to the current one."""
        names = [Path(name) for name in self.storage.names(_GENERATIONS)]
        return sorted(int(name.stem) for name in names if name.stem.isdigit())

    def current(self) -> Generation | None:
        """The generation that readers see; None before the first night."""
        numbers = self.numbers()
        return self.generation(numbers[-1]) if numbers else None

    def generation(self, number: int) -> Generation:
        """A generation by its number.

        Raises:
            ConfigurationError: there is none of that number, its manifest cannot be read, or it
                was written with another schema.
        """
        name = _manifest(number)
        data = self.storage.read(name)
        if data is None:
            raise ConfigurationError(
                f"there is no generation {number} in {self.url}; there are: "
                f"{', '.join(map(str, self.numbers())) or 'none'}"
            )
        try:
            generation = Generation.from_json(data)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the manifest {self.url}/{name} cannot be read ({error}); "
                f"remove it to go back to generation {number - 1}"
            ) from error
        if generation.schema_version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"generation {number} of {self.url} was written with schema "
                f"{generation.schema_version}, this release reads schema {SCHEMA_VERSION}: name "
                "another home, where the archive is recognised anew, or use the release that "
                "wrote this one"
            )
        return generation

    def fence(self, lease: str) -> int:
        """The token of a lease below which nobody can commit; 0 if any can."""
        current = self.current()
        return 0 if current is None else current.fences.get(lease, 0)

    def commit(self, manifest: Generation) -> Generation:
        """Make a generation the current one. This is the moment a night becomes visible.

        Committing the same manifest again is fine: the answer to the first time may be lost.

        Raises:
            GenerationConflict: another run took the number first.
            LeaseLost: a run that took over from this one committed the generation before.
        """
        name, data = _manifest(manifest.number), manifest.to_json()
        below = self.storage.read(_manifest(manifest.number - 1))
        if below is not None:
            refuse_fenced(manifest, Generation.from_json(below))
        if not self.storage.create(name, data) and self.storage.read(name) != data:
            raise GenerationConflict(
                f"generation {manifest.number} of {self.url} was published by another run while "
                f"run {manifest.run_id} was preparing it; run again, what was recognised is kept"
            )
        return manifest

    def stage(self, shard_key: str, attempt: str, table: str, temporary: Path) -> str:
        """Bring an attempt's rows of a table into the lake; they are safe when this returns.

        Args:
            shard_key: the shard's key.
            attempt: the attempt's own name, never used before.
            table: the table whose rows they are.
            temporary: a finished, synced Parquet file from ``storage.temporary``.

        Returns:
            Their name in the lake, for the shard's record.
        """
        name = f"{_STAGING}/{shard_key}/{attempt}-{table}.parquet"
        self.storage.adopt(temporary, name)
        return name

    def staged(self, shard_key: str) -> list[str]:
        """The names of all attempts' staged files of a shard."""
        return self.storage.names(f"{_STAGING}/{shard_key}")

    def record_shard(self, key: str, record: ShardRecord) -> bool:
        """Record a shard's result once; False if another attempt was first and this one lost."""
        return self.storage.create(_record(key), record.to_json())

    def shard(self, key: str) -> ShardRecord | None:
        """A shard's record; None if no attempt has finished."""
        data = self.storage.read(_record(key))
        return None if data is None else ShardRecord.from_json(data)

    def shards(self, keys: Iterable[str]) -> dict[str, ShardRecord | None]:
        """The records of many shards, by key: ``shard`` of each, at the price of few waits."""
        asked = list(keys)
        found = self.storage.read_all([_record(key) for key in asked])
        return {
            key: None if data is None else ShardRecord.from_json(data)
            for key, data in zip(asked, found, strict=True)
        }

    def forget_shard(self, record: ShardRecord) -> None:
        """Let a shard be recognised again: its record goes, then the rows that it speaks of."""
        self.storage.remove(_record(record.key))
        for name in (record.images_path, record.recognitions_path):
            self.storage.remove(name)

    def sweep_shards(self, merged: Iterable[str], keep: Iterable[str] = ()) -> int:
        """Remove the records and staged rows of merged shards; returns the bytes freed.

        Args:
            merged: keys whose rows are in the facts and that nobody plans any more.
            keep: keys whose record stays; only files of attempts that lost are removed.
        """
        kept = {key: record for key, record in self.shards(keep).items() if record is not None}
        gone = set(merged) - set(keep)
        named = {r.images_path for r in kept.values()} | {
            r.recognitions_path for r in kept.values()
        }
        doomed = [
            entry
            for entry in self.storage.entries(_STAGING)
            if entry.name not in named and entry.name.split("/")[1] in gone | kept.keys()
        ]
        # The records go first: a record without its rows would lose them for a later run.
        self.storage.remove_all([_record(key) for key in sorted(gone)])
        self.storage.remove_all([entry.name for entry in doomed])
        return sum(entry.bytes for entry in doomed)


def _record(key: str) -> str:
    return f"{_SHARDS}/{key}.json"


def _manifest(number: int) -> str:
    return f"{_GENERATIONS}/{number:08d}.json"
