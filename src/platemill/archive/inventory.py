"""The inventory: every image of the archives, what is new, and what has changed.

The walk costs a ``stat`` a file; only new and changed images are read, once, for their hash. An
image keeps the camera and time that it was first recorded with until its bytes change, so that no
fact moves to another day because a template was edited or a file was copied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.archive.facts import Content, Origin, Request, hash_text, origins, read_contents
from platemill.archive.known import INVENTORY_SCHEMA, Known
from platemill.archive.layout import Layout
from platemill.archive.reader import ArchiveReader
from platemill.archive.rows import Rows
from platemill.archive.scan import Scan, Scanner
from platemill.archive.sources import open_sources
from platemill.archive.times import capture_time, utc_day
from platemill.documents import write_json
from platemill.schema import TimeSource

__all__ = ["INVENTORY_SCHEMA", "Inventory", "Progress", "take_inventory"]

# Called with the number of images listed so far, then with that of images that are done.
Progress = Callable[[int], None]

_CHUNK: Final = 16_384
_REPORT_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the archives hold.

    Args:
        table: ``INVENTORY_SCHEMA``, a row an image, each URI once; also a row for each folder or
            archive file whose images cannot all be listed.
        seen: images in the archives: the rows of ``table`` and the postponed ones.
        ignored: files that are no images by their names (those in unchanged tars and zips are
            not counted).
        new: images that were not known, or had changed, or could not be used before.
        postponed: new or changed images of other days than the ones asked for: not read, not in
            ``table``, and new to the next inventory.
        bytes_read: what was read to hash the new ones.
    """

    table: pa.Table
    seen: int
    ignored: int
    new: int
    postponed: int
    bytes_read: int

    def save(self, folder: Path) -> None:
        """Write ``inventory.parquet``, then ``inventory.json``, by which it is complete."""
        pq.write_table(self.table, folder / "inventory.parquet", compression="zstd")
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "table"}
        write_json(folder / "inventory.json", counts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        counts = json.loads((folder / "inventory.json").read_text())
        table = pq.read_table(folder / "inventory.parquet", schema=INVENTORY_SCHEMA)
        return cls(table=table, **counts)


def take_inventory(
    archives: Sequence[str | Path],
    layout: str,
    known: pa.Table,
    *,
    days: frozenset[date] | None = None,
    max_image_bytes: int,
    progress: Progress | None = None,
) -> Inventory:
    """List the archives and find out about what is new in them.

    Args:
        archives: folders, tars, zips; where they overlap, an image counts once, as part of the
            one that is named first.
        layout: path template, see ``layout``.
        known: rows of earlier inventories, each URI once; an empty table at first.
        days: the UTC days that will be worked on. All images are listed all the same, but the
            bytes of a new file in a folder are not read if its path or an index says another day.
        max_image_bytes: a larger image is rejected before it is read.
        progress: called now and then.

    Raises:
        ConfigurationError: the layout is wrong, or no archive is named.
        ArchiveError: a named archive cannot be opened at all, or an index in one is wrong.
        RetryableError: the machine is out of memory or file handles.
    """
    template = Layout(layout)
    sources = open_sources(archives)
    before = Known.of(known)
    report = progress or (lambda done: None)
    with ArchiveReader() as reader:
        scanner = Scanner(reader, Rows(max_image_bytes), before.stamps())
        for seen in scanner.walk(sources):
            report(seen)
        scan = scanner.result()
        rows = before.find(scan.table["uri"])
        same = before.unchanged(scan.table, rows)
        reused = before.table.take(rows[same])
        kept = before.members(scan.kept)
        fresh = np.flatnonzero(~same)
        new = _NewImages(reader, template, scan, before, days, max_image_bytes)
        batches: list[pa.RecordBatch] = []
        done = reused.num_rows + kept.num_rows
        for start in range(0, fresh.size, _CHUNK):
            chunk = fresh[start : start + _CHUNK]
            batches.append(new.look_at(chunk, rows[chunk], done + start, report))
    table = pa.concat_tables([reused, kept, pa.Table.from_batches(batches, INVENTORY_SCHEMA)])
    return Inventory(
        table=table,
        seen=table.num_rows + new.postponed,
        ignored=scan.ignored,
        new=int(fresh.size) - new.postponed,
        postponed=new.postponed,
        bytes_read=new.bytes_read,
    )


class _NewImages:
    """Finds out about images that are not known, or not as they are now."""

    def __init__(
        self,
        reader: ArchiveReader,
        layout: Layout,
        scan: Scan,
        known: Known,
        days: frozenset[date] | None,
        max_image_bytes: int,
    ) -> None:
        self._reader = reader
        self._layout = layout
        self._scan = scan
        self._known = known
        self._days = days
        self._max_image_bytes = max_image_bytes
        self.postponed = 0
        self.bytes_read = 0

    def look_at(
        self,
        rows: npt.NDArray[np.int64],
        known_rows: npt.NDArray[np.int64],
        done: int,
        report: Progress,
    ) -> pa.RecordBatch:
        """The inventory's rows of some images of the walk, without the postponed ones.

        Args:
            rows: int64 [N], their places in the walk, ascending.
            known_rows: int64 [N], the rows that are known of them, or -1.
            done: images that were done before.
            report: called now and then.
        """
        found: list[dict[str, Any]] = self._scan.table.take(rows).to_pylist()
        paths = [image["path"] for image in found]
        whose = origins(paths, rows, self._layout, self._scan.sidecars)
        earlier = _earlier(self._known, known_rows)
        wanted = [
            place for place, image in enumerate(found) if self._is_wanted(image, whose[place])
        ]
        self.postponed += len(found) - len(wanted)
        requests = (
            Request(
                found[place]["uri"],
                found[place]["offset"],
                found[place]["byte_size"],
                whose[place].captured_at is None,
            )
            for place in wanted
            if found[place]["rejected_reason"] is None
        )
        contents = read_contents(self._reader, requests, self._max_image_bytes)
        out: list[tuple[object, ...]] = []
        for place in wanted:
            image = found[place]
            content = (
                next(contents) if image["rejected_reason"] is None else _rejected_before(image)
            )
            out.append(_row(image, whose[place], content, earlier.get(place)))
            if content.reason is None:
                self.bytes_read += content.facts[0] if content.facts else image["byte_size"]
            if len(out) % _REPORT_EVERY == 0:
                report(done + len(out))
        report(done + len(found))
        columns = zip(*out, strict=True) if out else ([] for _ in INVENTORY_SCHEMA)
        return pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, INVENTORY_SCHEMA, strict=True)],
            schema=INVENTORY_SCHEMA,
        )

    def _is_wanted(self, image: dict[str, Any], origin: Origin) -> bool:
        if self._days is None or origin.captured_at is None:
            return True
        # An archive file is known only as a whole.
        if image["archive_stamp"] is not None:
            return True
        return utc_day(origin.captured_at) in self._days


def _earlier(known: Known, rows: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """What is known of images, by their places."""
    places = np.flatnonzero(rows >= 0)
    columns = ["image_id", "camera_id", "captured_at", "time_source"]
    table = known.table.select(columns).take(rows[places])
    table = table.set_column(2, "captured_at", table["captured_at"].cast(pa.int64()))
    return {int(place): row for place, row in zip(places, table.to_pylist(), strict=True)}


def _rejected_before(image: dict[str, Any]) -> Content:
    return Content(
        hash_text(image["uri"]), None, None, image["rejected_reason"], image["rejected_detail"]
    )


def _row(
    image: dict[str, Any], origin: Origin, content: Content, earlier: dict[str, Any] | None
) -> tuple[object, ...]:
    size, modified_at = content.facts or (image["byte_size"], image["modified_at"])
    if earlier is not None and earlier["image_id"] == content.image_id:
        # The same bytes under the same name, touched or packed again.
        camera, captured_at = earlier["camera_id"], earlier["captured_at"]
        source = earlier["time_source"]
    else:
        camera = origin.camera
        captured_at, source = _captured(origin, content, modified_at)
    return (
        image["uri"],
        content.image_id,
        camera,
        captured_at,
        utc_day(captured_at),
        size,
        modified_at,
        str(source),
        image["offset"],
        image["archive_stamp"],
        content.reason,
        content.detail,
    )


def _captured(origin: Origin, content: Content, modified_at: int) -> tuple[int, TimeSource]:
    if origin.captured_at is not None:
        return origin.captured_at, origin.source
    if content.exif_time is not None:
        return content.exif_time, TimeSource.EXIF
    return capture_time(modified_at), TimeSource.FILE
