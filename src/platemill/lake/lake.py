"""The lake of a deployment: generations, shard records and the inventory.

::

    images/day=2026-05-01/<hash>.parquet            facts, one file a day
    recognitions/day=2026-05-01/<hash>.parquet
    tiles/<table>/<period>=<first day>/<hash>.parquet
    history/<table>/<period>=<first day>/<hash>.parquet   rows corrected since
    _generations/00000001.json                      the manifests; the greatest is current
    _shards/<key>.json                              one a shard, created by the attempt that won
    _staging/<key>/<attempt>-images.parquet         rows on their way to the facts
    _inventory/00000001-<hash>.parquet              what the archives held
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.errors import ConfigurationError, GenerationConflict
from platemill.lake.files import write_parquet
from platemill.lake.generation import Generation
from platemill.lake.shards import ShardRecord
from platemill.lake.storage import LocalStorage
from platemill.schema import IMAGES, INVENTORY

__all__ = ["Lake"]

_GENERATIONS = "_generations"
_SHARDS = "_shards"
_STAGING = "_staging"
_INVENTORY = "_inventory"
_LOCK = "_publish.lock"


class Lake:
    """The lake in a folder. Holds no open file and no state of its own.

    Args:
        root: the lake's folder; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.storage = LocalStorage(root)

    @property
    def root(self) -> Path:
        """The lake's folder, absolute."""
        return self.storage.root

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
            ConfigurationError: there is none of that number, or its manifest cannot be read.
        """
        name = _manifest(number)
        data = self.storage.read(name)
        if data is None:
            raise ConfigurationError(
                f"there is no generation {number} in {self.root}; there are: "
                f"{', '.join(map(str, self.numbers())) or 'none'}"
            )
        try:
            return Generation.from_json(data)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the manifest {self.storage.locate(name)} cannot be read ({error}); "
                f"remove it to go back to generation {number - 1}"
            ) from error

    def commit(self, manifest: Generation) -> Generation:
        """Make a generation the current one. This is the moment a night becomes visible.

        Committing the same manifest again is fine: the answer to the first time may be lost.

        Raises:
            GenerationConflict: another run took the number first.
        """
        name, data = _manifest(manifest.number), manifest.to_json()
        if not self.storage.create(name, data) and self.storage.read(name) != data:
            raise GenerationConflict(
                f"generation {manifest.number} of {self.root} was published by another run while "
                f"run {manifest.run_id} was preparing it; run again, what was recognised is kept"
            )
        return manifest

    @contextlib.contextmanager
    def publish_lock(self, wait_seconds: float = 3600.0) -> Iterator[None]:
        """Let one publisher in at a time. Readers need no lock.

        Raises:
            RetryableError: another publisher held it for longer than ``wait_seconds``.
        """
        with self.storage.lock(_LOCK, wait_seconds):
            yield

    def staging(self, shard_key: str) -> Path:
        """The folder for a shard's attempt files, made if needed.

        An attempt's files are named ``<attempt>-…``; what is before the first hyphen tells the
        attempts apart, so an attempt's name has none.
        """
        folder = self.storage.locate(f"{_STAGING}/{shard_key}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def name_of(self, path: Path) -> str:
        """A file's name in the lake, as shard records and manifests say it."""
        return self.storage.name_of(path)

    def record_shard(self, key: str, record: ShardRecord) -> bool:
        """Record a shard's result once; False if another attempt was first and this one lost."""
        return self.storage.create(f"{_SHARDS}/{key}.json", record.to_json())

    def shard(self, key: str) -> ShardRecord | None:
        """A shard's record; None if no attempt has finished."""
        data = self.storage.read(f"{_SHARDS}/{key}.json")
        return None if data is None else ShardRecord.from_json(data)

    def sweep_shards(self, merged: Iterable[str], keep: Iterable[str] = ()) -> int:
        """Remove the records and staged rows of merged shards; returns the bytes freed.

        Args:
            merged: keys whose rows are in the facts and that nobody plans any more.
            keep: keys whose record stays; only files of attempts that lost are removed.
        """
        kept = set(keep)
        freed = 0
        for key in kept:
            record = self.shard(key)
            if record is not None:
                freed += self._sweep_staging(key, {record.images_path, record.recognitions_path})
        for key in set(merged) - kept:
            # The record goes first: a record without its rows would lose them for a later run.
            self.storage.remove(f"{_SHARDS}/{key}.json")
            freed += self._sweep_staging(key, set())
        return freed

    def known_images(self) -> pa.Table:
        """The newest inventory, which a new one is compared with; empty before the first."""
        names = self.storage.names(_INVENTORY)
        if not names:
            return INVENTORY.arrow.empty_table()
        return pq.read_table(self.storage.locate(names[-1]), schema=INVENTORY.arrow)

    def save_inventory(self, table: pa.Table) -> None:
        """Merge a new inventory into the newest: its rows replace those of the same URI.

        Rows that it does not mention stay: it may have looked at some archives or days only. One
        that says nothing new is not written.
        """
        table = table.select(INVENTORY.arrow.names).cast(INVENTORY.arrow)
        before = self.known_images()
        stays = pc.invert(pc.is_in(before["uri"], value_set=table["uri"].combine_chunks()))
        merged = pa.concat_tables([before.filter(stays), table]).sort_by("uri")
        if merged.equals(before):
            return
        names = self.storage.names(_INVENTORY)
        newest = int(Path(names[-1]).name.split("-", 1)[0]) if names else 0
        prefix = f"{_INVENTORY}/{newest + 1:08d}-"
        write_parquet(self.storage, prefix, INVENTORY.arrow, merged.to_batches())
        # Two before it stay: another run may be reading them.
        for old in names[:-2]:
            self.storage.remove(old)

    def done_images(self, pipeline_version: str) -> pa.Table:
        """What the plan compares with: the current generation's images of that version."""
        columns = ["uri", "image_id", "camera_id", "captured_at", "reason"]
        generation = self.current()
        schema = pa.schema([IMAGES.arrow.field(name) for name in columns])
        if generation is None:
            return schema.empty_table()
        tables = [
            pq.read_table(
                self.storage.locate(entry.path),
                columns=columns,
                filters=[("pipeline_version", "==", pipeline_version)],
            ).cast(schema)
            for _, entry in sorted(generation.partitions(IMAGES.name).items())
        ]
        return pa.concat_tables([schema.empty_table(), *tables])

    def _sweep_staging(self, key: str, keep: set[str]) -> int:
        freed = 0
        folder = f"{_STAGING}/{key}"
        for name in self.storage.names(folder):
            if name not in keep:
                with contextlib.suppress(FileNotFoundError):
                    freed += self.storage.locate(name).stat().st_size
                self.storage.remove(name)
        self.storage.remove_empty_folder(folder)
        return freed


def _manifest(number: int) -> str:
    return f"{_GENERATIONS}/{number:08d}.json"
