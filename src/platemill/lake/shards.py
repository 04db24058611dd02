"""A shard's record: which attempt won, and where its rows are staged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date

__all__ = ["ShardRecord"]


@dataclass(frozen=True)
class ShardRecord:
    """The one result of a shard, written once by the attempt that came first.

    Attributes:
        key: hash of the shard's images, the pipeline version and the schema version.
        day: the UTC day of all its images.
        run_id: the run that recognised it.
        attempt: the attempt's own name, part of its files' names.
        images_path: staged rows of ``images``, a name in the lake.
        recognitions_path: staged rows of ``recognitions``, a name in the lake.
        counts: images by status.
        plates: rows of ``recognitions``.
    """

    key: str
    day: date
    run_id: str
    attempt: str
    images_path: str
    recognitions_path: str
    counts: Mapping[str, int] = field(default_factory=dict)
    plates: int = 0

    @property
    def images(self) -> int:
        """Images of the shard, whatever became of them."""
        return sum(self.counts.values())

    def to_json(self) -> bytes:
        """The record's bytes, the same for equal records."""
        document = {**asdict(self), "day": self.day.isoformat(), "counts": dict(self.counts)}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ShardRecord:
        """Read a record. Raises ``TypeError`` or ``ValueError`` if it is not one."""
        document = json.loads(data)
        return cls(**{**document, "day": date.fromisoformat(document["day"])})
