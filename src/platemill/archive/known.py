"""What earlier inventories know, and which of it still holds.

A file is as it was if its size and modification time are. A member of a tar or zip is as it was if
the whole archive's size and time are; its own time says little, since many tools write the same
time into every member. An image that could not be used before is always looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platemill.archive.scope import containers_of
from platemill.errors import ConfigurationError
from platemill.schema import INVENTORY

__all__ = ["INVENTORY_SCHEMA", "Known", "of_days"]

INVENTORY_SCHEMA: Final = INVENTORY.arrow


def of_days(images: pa.Table, days: frozenset[date] | None) -> pa.Table:
    """The rows of a table with a ``day`` that are of these UTC days; all of them for None."""
    if days is None:
        return images
    return images.filter(pc.is_in(images["day"], value_set=pa.array(sorted(days), pa.date32())))


@dataclass(frozen=True, slots=True)
class Known:
    """The rows of earlier inventories, ``INVENTORY_SCHEMA``."""

    table: pa.Table

    @classmethod
    def of(cls, table: pa.Table) -> Known:
        """Take over a table; columns that only tell members and rejections may be missing.

        Raises:
            ConfigurationError: a column that every image has is missing.
        """
        columns: dict[str, Any] = {}
        for field in INVENTORY_SCHEMA:
            if field.name in table.column_names:
                columns[field.name] = table[field.name].cast(field.type)
            elif field.nullable:
                columns[field.name] = pa.nulls(table.num_rows, field.type)
            else:
                raise ConfigurationError(
                    f"the known images have no column {field.name}; they have "
                    f"{', '.join(table.column_names)}"
                )
        return cls(pa.table(columns, schema=INVENTORY_SCHEMA))

    def stamps(self) -> dict[str, str]:
        """Tars and zips whose members are all known and good: URI → the file's size and time.

        A stamp ends with the number of its archive's rows, so one of which some rows were
        replaced since is told.
        """
        members = self.table.filter(self.table["archive_stamp"].is_valid())
        if members.num_rows == 0:
            return {}
        columns: dict[str, Any] = {
            "container": containers_of(members["uri"]),
            "stamp": members["archive_stamp"],
            "rejected": pc.is_valid(members["rejected_reason"]),
        }
        grouped = (
            pa.table(columns)
            .group_by(["container", "stamp"])
            .aggregate([("rejected", "any"), ("rejected", "count")])
        )
        stamps = {}
        for row in grouped.to_pylist():
            stamp, _, rows = row["stamp"].rpartition(":")
            if rows == str(row["rejected_count"]) and not row["rejected_any"]:
                stamps[row["container"]] = stamp
        return stamps

    def members(self, kept: Mapping[str, str]) -> npt.NDArray[np.int64]:
        """The rows in ``table`` of the tars and zips with these URIs and stamps: int64 [N]."""
        if not kept:
            return np.zeros(0, np.int64)
        places = np.flatnonzero(_numpy(pc.is_valid(self.table["archive_stamp"])))
        inside = self.table.select(["uri", "archive_stamp"]).take(places)
        stamps = pc.replace_substring_regex(inside["archive_stamp"], ":[0-9]+$", "")
        names: Any = pc.binary_join_element_wise(containers_of(inside["uri"]), stamps, " ")
        wanted = pa.array([f"{uri} {stamp}" for uri, stamp in kept.items()])
        return places[_numpy(pc.is_in(names, value_set=wanted)).astype(np.bool_)]

    def deleted(self) -> npt.NDArray[np.bool_]:
        """Whether each row is marked as deleted: bool [N]."""
        return _numpy(pc.is_valid(self.table["deleted_at"])).astype(np.bool_)

    def find(self, uris: pa.ChunkedArray[Any]) -> npt.NDArray[np.int64]:
        """For each URI its row in ``table``, or -1: int64 [N]."""
        found: Any = pc.index_in(uris, value_set=self.table["uri"])
        return _numpy(pc.fill_null(found, -1)).astype(np.int64)

    def unchanged(self, scan: pa.Table, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each image of a walk is as the known row says: bool [N].

        Args:
            scan: ``SCAN_SCHEMA``, N rows.
            rows: what ``find`` says of them.
        """
        same = np.zeros(len(rows), np.bool_)
        places = np.flatnonzero(rows >= 0)
        columns = ["byte_size", "modified_at", "archive_stamp", "rejected_reason"]
        then = self.table.select(columns).take(rows[places])
        now = scan.select(columns).take(places)
        same[places] = (
            _same(then["byte_size"], now["byte_size"])
            & _same(then["modified_at"].cast(pa.int64()), now["modified_at"])
            & _same(pc.fill_null(then["archive_stamp"], ""), pc.fill_null(now["archive_stamp"], ""))
            & _numpy(pc.is_null(then["rejected_reason"]))
            & _numpy(pc.is_null(now["rejected_reason"]))
        )
        return same


def _numpy(values: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array


def _same(left: Any, right: Any) -> npt.NDArray[np.bool_]:
    return _numpy(pc.equal(left, right)).astype(np.bool_)
