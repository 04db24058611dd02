"""A generation: one whole night as readers see it, said by a manifest of files.

A file's name begins with the token of the publish lease under which it was written, so that no two
tenures ever write the same name: ``images/day=2026-05-01/00000007-<hash>.parquet``. What nobody
refers to can then be removed for good (``lake.vacuum``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from platemill.errors import LeaseLost
from platemill.lake.lease import PUBLISH

__all__ = ["FileEntry", "Generation", "Kind", "Partitions", "refuse_fenced", "written_under"]


class Kind(StrEnum):
    """What made a generation."""

    NIGHT = "night"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A Parquet file of the lake: its name in the lake, its rows and its size in bytes.

    ``digest`` is set for files of ``images``: a pipeline version and a digest of the images that
    are done under it (``lake.identity``), by which a plan tells a finished day without reading it.
    """

    path: str
    rows: int
    bytes: int
    digest: str = ""

    @property
    def content(self) -> str:
        """The hash of its bytes, with the partition that it lies in."""
        return _content(self.path)

    def same_rows(self, other: FileEntry | None) -> bool:
        """Whether both files hold the same bytes, whoever wrote them and when."""
        return other is not None and self.content == other.content


Partitions = Mapping[date, FileEntry]
"""A table's file for each partition, by the partition's first day."""


@dataclass(frozen=True)
class Generation:
    """What a manifest says.

    Attributes:
        number: 1 for the first; the greatest number is the current generation.
        parent: the generation it was built from, None for the first.
        run_id: the run that published it.
        created_at: UTC; later than every generation before it, whatever the clock did.
        pipeline_version: the version whose rows are served online.
        schema_version: the version of the stored columns.
        tables: table → partition's first day → its only file.
        history: tile table → partition's first day → files of rows that were published once and
            have been corrected since; point-in-time joins read them, nobody else does.
        shards: keys of the shards that were merged into this generation.
        kind: what made it.
        restores: the generation whose tables a rollback brought back.
        fences: lease → the greatest token that had been used when this was committed. A run with
            a smaller one was taken over and commits nothing on top of this.
    """

    number: int
    parent: int | None
    run_id: str
    created_at: datetime
    pipeline_version: str
    schema_version: str
    tables: Mapping[str, Partitions] = field(default_factory=dict)
    history: Mapping[str, Mapping[date, tuple[FileEntry, ...]]] = field(default_factory=dict)
    shards: tuple[str, ...] = ()
    kind: Kind = Kind.NIGHT
    restores: int | None = None
    fences: Mapping[str, int] = field(default_factory=dict)

    @property
    def publish_token(self) -> int:
        """The token of the publish lease that it was made under; 0 if it was made without."""
        return self.fences.get(PUBLISH, 0)

    def files(self) -> dict[str, FileEntry]:
        """Every file that the generation needs, by its name in the lake."""
        tables = [entry for files in self.tables.values() for entry in files.values()]
        past = [
            entry
            for days in self.history.values()
            for entries in days.values()
            for entry in entries
        ]
        return {entry.path: entry for entry in (*tables, *past)}

    def prefix(self, folder: str) -> str:
        """What the name of a file begins with that is written for this generation."""
        return f"{folder}/{self.publish_token:08d}-"

    def partitions(self, table: str) -> Partitions:
        """The files of a table; empty if it has none."""
        return self.tables.get(table, {})

    def superseded(self, table: str, partition: date) -> tuple[FileEntry, ...]:
        """The history files of one partition of a tile table."""
        return self.history.get(table, {}).get(partition, ())

    def to_json(self) -> bytes:
        """The manifest's bytes, the same for equal generations."""
        document = {
            "generation": self.number,
            "parent": self.parent,
            "run_id": self.run_id,
            "created_at": self.created_at.isoformat(),
            "pipeline_version": self.pipeline_version,
            "schema_version": self.schema_version,
            "tables": {
                table: {day.isoformat(): _file(entry) for day, entry in sorted(files.items())}
                for table, files in sorted(self.tables.items())
            },
            "history": {
                table: {
                    day.isoformat(): [_file(entry) for entry in entries]
                    for day, entries in sorted(days.items())
                }
                for table, days in sorted(self.history.items())
            },
            "shards": list(self.shards),
            "kind": self.kind.value,
            "restores": self.restores,
            "fences": dict(sorted(self.fences.items())),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Generation:
        """Read a manifest. Raises ``KeyError`` or ``ValueError`` if it is not one."""
        document: dict[str, Any] = json.loads(data)
        return cls(
            number=document["generation"],
            parent=document["parent"],
            run_id=document["run_id"],
            created_at=datetime.fromisoformat(document["created_at"]),
            pipeline_version=document["pipeline_version"],
            schema_version=document["schema_version"],
            tables={
                table: {date.fromisoformat(day): FileEntry(**entry) for day, entry in days.items()}
                for table, days in document["tables"].items()
            },
            history={
                table: {
                    date.fromisoformat(day): tuple(FileEntry(**entry) for entry in entries)
                    for day, entries in days.items()
                }
                for table, days in document["history"].items()
            },
            shards=tuple(document["shards"]),
            # Manifests of before there were leases say nothing of the last three.
            kind=Kind(document.get("kind", Kind.NIGHT)),
            restores=document.get("restores"),
            fences=document.get("fences", {}),
        )


def refuse_fenced(manifest: Generation, parent: Generation) -> None:
    """Refuse a manifest whose run lost a lease to a run that committed since.

    Nothing is asked of anybody: what the two manifests say decides. So it holds for a run that was
    stopped between its last look at its leases and its commit, for however long.

    Raises:
        LeaseLost: a token is smaller than the parent's.
    """
    for name, fence in parent.fences.items():
        token = manifest.fences.get(name, 0)
        if token < fence:
            raise LeaseLost(
                f"run {manifest.run_id} holds {name} with token {token}, but generation "
                f"{parent.number} was published under token {fence}: the lease was taken over. "
                "This run commits nothing; run again if anything is left to do"
            )


def written_under(path: str) -> int:
    """The publish token in a file's name; 0 if it has none."""
    token, hyphen, _ = PurePosixPath(path).name.partition("-")
    return int(token) if hyphen and token.isdigit() else 0


def _content(path: str) -> str:
    """The hash in a file's name, with the partition that it lies in."""
    place = PurePosixPath(path)
    return f"{place.parent}/{place.name.rpartition('-')[2]}"


def _file(entry: FileEntry) -> dict[str, object]:
    said: dict[str, object] = {"path": entry.path, "rows": entry.rows, "bytes": entry.bytes}
    return {**said, "digest": entry.digest} if entry.digest else said
