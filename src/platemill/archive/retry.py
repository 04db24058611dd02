"""An inventory of some known images alone: their files are read again, nothing is listed."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from platemill.archive.facts import Content, Request, read_contents
from platemill.archive.inventory import Found, Inventory
from platemill.archive.known import INVENTORY_SCHEMA, Known
from platemill.archive.reader import ArchiveReader
from platemill.archive.scope import Scope
from platemill.archive.times import capture_time, to_datetime, utc_day
from platemill.archive.uris import Location, parse_uri
from platemill.errors import ImageRejected
from platemill.schema import TimeSource

__all__ = ["retry_inventory"]


def retry_inventory(known: pa.Table, max_image_bytes: int) -> Inventory:
    """Read known images again: what there is now under their URIs.

    An image whose bytes have changed keeps its camera; its time too if a path or an index said
    it, else its new bytes or its file say it. A member of a tar or zip that was rewritten since is
    rejected (``changed``) until an inventory of the whole archive has found where it lies now. An
    image that is gone is rejected (``vanished``).

    Args:
        known: rows of the saved inventory, ``INVENTORY_SCHEMA``, each URI once.
        max_image_bytes: a larger image is rejected before it is read.

    Returns:
        An inventory of these images. Its scope is empty: it says nothing of any other image.

    Raises:
        RetryableError: the machine is out of memory or file handles.
    """
    before = Known.of(known)
    rows: list[dict[str, Any]] = before.table.to_pylist()
    with ArchiveReader() as reader:
        stale = [_stale(reader, row) for row in rows]
        requests = (
            Request(
                row["uri"],
                row["offset"],
                row["byte_size"],
                row["time_source"] in (TimeSource.EXIF, TimeSource.FILE),
            )
            for row, problem in zip(rows, stale, strict=True)
            if problem is None
        )
        contents = read_contents(reader, requests, max_image_bytes)
        made = [
            _row(row, next(contents) if problem is None else _rejected(row, problem))
            for row, problem in zip(rows, stale, strict=True)
        ]
    table = pa.Table.from_pylist(made, schema=INVENTORY_SCHEMA)
    moved = [
        {"uri": then["uri"], "day": then["day"]}
        for then, now in zip(rows, made, strict=True)
        if then["day"] != now["day"]
    ]
    moved_schema = pa.schema([INVENTORY_SCHEMA.field("uri"), INVENTORY_SCHEMA.field("day")])
    read = sum(row["byte_size"] for row in made if row["rejected_reason"] is None)
    return Inventory(
        table=table,
        delta=table,
        moved=pa.Table.from_pylist(moved, schema=moved_schema),
        unseen=table.select(["uri"]).slice(0, 0),
        found=Found(
            seen=table.num_rows,
            ignored=0,
            new=table.num_rows,
            postponed=0,
            bytes_read=read,
            deleted=0,
            returned=0,
            scope=Scope(()),
        ),
    )


def _stale(reader: ArchiveReader, row: dict[str, Any]) -> ImageRejected | None:
    """Why what is known of a member does not say where it lies now, if so."""
    try:
        location = parse_uri(row["uri"])
    except ValueError as error:
        return ImageRejected("unreadable", str(error))
    if location.kind == "file":
        return None
    try:
        with reader.opened(Location(location.kind, location.path)) as file:
            stamp = _stamp(file.facts)
    except ImageRejected as error:
        return error
    if row["archive_stamp"] is None or row["archive_stamp"].rpartition(":")[0] != stamp:
        return ImageRejected(
            "changed", "its archive was rewritten; run a night over the whole archive"
        )
    if row["offset"] is None:
        # It was rejected when the archive was listed, and the archive is as it was.
        return ImageRejected(row["rejected_reason"] or "unreadable", row["rejected_detail"] or "")
    return None


def _stamp(facts: os.stat_result) -> str:
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def _rejected(row: dict[str, Any], problem: ImageRejected) -> Content:
    return Content(row["image_id"], None, None, problem.reason, problem.detail)


def _row(row: dict[str, Any], content: Content) -> dict[str, Any]:
    size, modified_at = content.facts or (row["byte_size"], None)
    made = {
        **row,
        "byte_size": size,
        "modified_at": row["modified_at"] if modified_at is None else to_datetime(modified_at),
        "rejected_reason": content.reason,
        "rejected_detail": content.detail,
        "deleted_at": None,
    }
    if content.reason is not None or content.image_id == row["image_id"]:
        # What cannot be used now stays the image that it was.
        return made
    made["image_id"] = content.image_id
    if row["time_source"] in (TimeSource.EXIF, TimeSource.FILE):
        if content.exif_time is not None:
            captured_at, source = content.exif_time, TimeSource.EXIF
        elif modified_at is not None:
            captured_at, source = capture_time(modified_at), TimeSource.FILE
        else:
            return made
        made["captured_at"] = to_datetime(captured_at)
        made["day"] = utc_day(captured_at)
        made["time_source"] = str(source)
    return made
