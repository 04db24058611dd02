"""A generation: one whole night as readers see it, said by a manifest of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

__all__ = ["FileEntry", "Generation", "Partitions"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A Parquet file of the lake: its name in the lake, its rows and its size in bytes."""

    path: str
    rows: int
    bytes: int


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
        )


def _file(entry: FileEntry) -> dict[str, object]:
    return {"path": entry.path, "rows": entry.rows, "bytes": entry.bytes}
