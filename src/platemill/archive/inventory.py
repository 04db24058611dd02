"""The inventory: every image of the archives, what is new, and what has changed.

The walk costs a ``stat`` a file; only new and changed images are read, once, for their hash. An
image keeps the camera and time that it was first recorded with until its bytes change, so that no
fact moves to another day because a template was edited or a file was copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platemill.archive.facts import Content, Origin, Request, hash_text, origins, read_contents
from platemill.archive.known import INVENTORY_SCHEMA, Known
from platemill.archive.layout import Layout
from platemill.archive.reader import ArchiveReader
from platemill.archive.rows import Rows
from platemill.archive.scan import Scan, Scanner
from platemill.archive.scope import Scope, containers_of, lies_in
from platemill.archive.sources import Source, open_sources
from platemill.archive.times import capture_time, utc_day
from platemill.documents import write_json
from platemill.schema import TimeSource

__all__ = ["INVENTORY_SCHEMA", "Found", "Inventory", "Progress", "take_inventory"]

# Called with the number of images listed so far, then with that of images that are done.
Progress = Callable[[int], None]

_CHUNK: Final = 16_384
_REPORT_EVERY: Final = 256
_FOUND: Final = "inventory.json"
_UNSEEN: Final = "unseen.parquet"


@dataclass(frozen=True, slots=True)
class Found:
    """What a run keeps of its inventory in its own folder, once the rows are in the lake.

    Args:
        seen: images in the archives, the postponed ones too.
        ignored: files that are no images by their names (those in unchanged tars and zips are
            not counted).
        new: images that were not known, or had changed, or could not be used before.
        postponed: new or changed images of other days than the ones asked for: not read, and new
            to the next inventory.
        bytes_read: what was read to hash the new ones.
        deleted: known images that their archive does not show any more, for the first time.
        returned: images that it shows again, as they were.
        scope: where the run looked and saw anything.
        emptied: archives that show no image at all although some are known there; nothing in them
            was marked as deleted.
        saved: number of the inventory in the lake that holds all of it.
    """

    seen: int
    ignored: int
    new: int
    postponed: int
    bytes_read: int
    deleted: int
    returned: int
    scope: Scope
    emptied: tuple[str, ...] = ()
    saved: int = 0

    def save(self, folder: Path) -> None:
        """Write ``inventory.json``, by which a run's inventory is complete."""
        write_json(folder / _FOUND, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what ``save`` wrote; None if there is nothing."""
        try:
            said = json.loads((folder / _FOUND).read_text())
        except FileNotFoundError:
            return None
        scope = {name: tuple(places) for name, places in said.pop("scope").items()}
        return cls(**{**said, "scope": Scope(**scope), "emptied": tuple(said["emptied"])})

    def share(self, folder: Path, other: Path, newest: int) -> None:
        """Let another run have the inventory of this one.

        Args:
            folder: this run's.
            other: the other one's.
            newest: number of the newest inventory in the lake: it holds all that this one does,
                and this one may be swept by then.
        """
        shutil.copyfile(folder / _UNSEEN, other / _UNSEEN)
        replace(self, saved=max(self.saved, newest)).save(other)

    @staticmethod
    def unseen(folder: Path) -> pa.Table:
        """``uri`` of known images that a run did not see, though it does not mark them."""
        return pq.read_table(folder / _UNSEEN)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the archives hold.

    Args:
        table: ``INVENTORY_SCHEMA``, a row an image, each URI once; also a row for each folder or
            archive file whose images cannot all be listed.
        delta: ``INVENTORY_SCHEMA``, what is not as it was known: the rows of ``table`` that are
            new, changed or there again, and known rows that are deleted now.
        moved: ``uri, day`` of the known rows that ``delta`` has on another day.
        unseen: ``uri`` of known images that should have been seen and were not, though they are
            not marked as deleted: nothing is recognised of them.
        found: the counts, and where was looked.
    """

    table: pa.Table
    delta: pa.Table
    moved: pa.Table
    unseen: pa.Table
    found: Found

    def save(self, folder: Path, saved: int) -> Found:
        """Leave what the plan needs in a run's folder.

        Args:
            folder: the run's.
            saved: number of the inventory in the lake that holds ``delta``.
        """
        pq.write_table(self.unseen, folder / _UNSEEN, compression="zstd")
        found = replace(self.found, saved=saved)
        found.save(folder)
        return found

    @property
    def seen(self) -> int:
        """Images in the archives: the rows of ``table`` and the postponed ones."""
        return self.found.seen

    @property
    def new(self) -> int:
        """Images that were looked at."""
        return self.found.new


def take_inventory(
    archives: Sequence[str | Path],
    layout: str,
    known: pa.Table,
    *,
    days: frozenset[date] | None = None,
    max_image_bytes: int,
    rehash: bool = False,
    mark_emptied: bool = False,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Inventory:
    """List the archives and find out about what is new in them, and what is gone.

    A known image that its archive does not show any more is marked as deleted if the archive was
    named, and the folder, tar or zip that it lay in was listed whole, and no ``days`` are given.

    Args:
        archives: folders, tars, zips; where they overlap, an image counts once, as part of the
            one that is named first.
        layout: path template, see ``layout``.
        known: rows of earlier inventories, each URI once; an empty table at first.
        days: the UTC days that will be worked on. All images are listed all the same, but the
            bytes of a new file in a folder are not read if its path or an index says another day.
        max_image_bytes: a larger image is rejected before it is read.
        rehash: read every image, as if size and time said nothing.
        mark_emptied: mark images as deleted although their archive shows none at all.
        now: the time of the marks; default: the clock's.
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
        stamps = {} if rehash else before.stamps()
        scanner = Scanner(reader, Rows(max_image_bytes), stamps)
        for seen in scanner.walk(sources):
            report(seen)
        scan = scanner.result()
        rows = before.find(scan.table["uri"])
        same = before.unchanged(scan.table, rows) & (not rehash)
        kept = np.concatenate([rows[same], before.members(scan.kept)])
        fresh = np.flatnonzero(~same)
        new = _NewImages(reader, template, scan, before, days, max_image_bytes)
        batches: list[pa.RecordBatch] = []
        for start in range(0, fresh.size, _CHUNK):
            chunk = fresh[start : start + _CHUNK]
            batches.append(new.look_at(chunk, rows[chunk], kept.size + start, report))
    deleted = before.deleted()
    back = _marked(before.table.take(kept[deleted[kept]]), None)
    stays = before.table.take(kept[~deleted[kept]])
    made = pa.Table.from_batches(batches, INVENTORY_SCHEMA)
    table = pa.concat_tables([stays, back, made])
    missing = ~deleted
    missing[kept] = False
    missing[rows[rows >= 0]] = False
    absent = _absent(before, missing, table, Scope(_uris(sources), scan.unsure), mark_emptied)
    # Of some days nobody looks at the others, so nobody says that their images are gone.
    gone = absent.gone if days is None else absent.gone[:0]
    unseen = absent.unsure if days is None else np.concatenate([absent.unsure, absent.gone])
    marked = _marked(before.table.take(pa.array(gone)), now or datetime.now(UTC))
    return Inventory(
        table=table,
        delta=pa.concat_tables([back, made, marked]),
        moved=_moved(before, rows[fresh], made),
        unseen=before.table.select(["uri"]).take(pa.array(unseen)),
        found=Found(
            seen=table.num_rows + new.postponed,
            ignored=scan.ignored,
            new=int(fresh.size) - new.postponed,
            postponed=new.postponed,
            bytes_read=new.bytes_read,
            deleted=marked.num_rows,
            returned=back.num_rows,
            scope=Scope(_uris(sources), absent.emptied),
            emptied=absent.emptied,
        ),
    )


def _uris(sources: Sequence[Source]) -> tuple[str, ...]:
    return tuple(source.uri for source in sources)


@dataclass(frozen=True, slots=True)
class _Absent:
    """Known rows whose images a walk should have come by and did not: places, int64.

    Args:
        gone: their folder, tar or zip was listed whole.
        unsure: it was not.
        emptied: archives that show no image at all all of a sudden; their rows are in neither.
    """

    gone: npt.NDArray[np.int64]
    unsure: npt.NDArray[np.int64]
    emptied: tuple[str, ...] = ()


def _absent(
    known: Known,
    missing: npt.NDArray[np.bool_],
    table: pa.Table,
    scope: Scope,
    mark_emptied: bool,
) -> _Absent:
    """Divide what is missing.

    Args:
        known: N rows.
        missing: bool [N], whether the walk did not come by.
        table: what the archives hold.
        scope: where was looked.
        mark_emptied: whether an archive may lose all its images.
    """
    places = np.flatnonzero(missing)
    if not places.size:
        return _Absent(places, places)
    containers = containers_of(known.table["uri"].take(pa.array(places)))
    inside = lies_in(containers, scope.archives)
    emptied: list[str] = []
    if not mark_emptied:
        there = containers_of(table["uri"])
        emptied = [
            archive
            for archive in scope.archives
            if lies_in(containers, (archive,)).any() and not lies_in(there, (archive,)).any()
        ]
    inside &= ~lies_in(containers, emptied)
    unsure = lies_in(containers, scope.unsure)
    return _Absent(places[inside & ~unsure], places[inside & unsure], tuple(emptied))


def _marked(rows: pa.Table, deleted_at: datetime | None) -> pa.Table:
    """Rows with their mark set, or taken away."""
    field = INVENTORY_SCHEMA.field("deleted_at")
    marks = pa.array([deleted_at] * rows.num_rows, field.type)
    return rows.set_column(rows.schema.get_field_index(field.name), field, marks)


def _moved(known: Known, rows: npt.NDArray[np.int64], made: pa.Table) -> pa.Table:
    """``uri, day`` of known rows that are on another day among the rows made anew.

    Args:
        known: the known rows.
        rows: int64 [N], places in ``known`` of what was looked at, or -1.
        made: the rows made anew, some of the N.
    """
    then = known.table.select(["uri", "day"]).take(pa.array(rows[rows >= 0]))
    found: Any = pc.fill_null(pc.index_in(then["uri"], value_set=made["uri"]), -1)
    places: npt.NDArray[np.int64] = found.to_numpy().astype(np.int64)
    then = then.filter(pa.array(places >= 0))
    now = made["day"].take(pa.array(places[places >= 0]))
    return then.filter(pc.not_equal(then["day"], now))


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
        None,
    )


def _captured(origin: Origin, content: Content, modified_at: int) -> tuple[int, TimeSource]:
    if origin.captured_at is not None:
        return origin.captured_at, origin.source
    if content.exif_time is not None:
        return content.exif_time, TimeSource.EXIF
    return capture_time(modified_at), TimeSource.FILE
