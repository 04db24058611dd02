"""``index.csv`` and ``index.parquet``: camera and time of photos, given beside them.

An index holds for the folder that it lies in and all below. Its ``path`` is relative to that
folder; where several indexes name a photo, the nearest one is right. ``camera_id`` and
``captured_at`` may each be blank or missing: then the next source is asked. A ``captured_at``
without an offset is UTC.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from platemill.archive.times import parse_iso, plausible
from platemill.errors import ArchiveError

__all__ = ["SIDECARS", "PlacedSidecar", "Sidecar", "SidecarEntry", "read_sidecar"]

SIDECARS: Final = ("index.csv", "index.parquet")
_COLUMNS: Final = ("path", "camera_id", "captured_at")


@dataclass(frozen=True, slots=True)
class SidecarEntry:
    """What an index says of a photo; None where it does not (microseconds since 1970, UTC)."""

    camera: str | None
    captured_at: int | None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A loaded index: ``path``, and ``camera_id`` and ``captured_at``, which may be null."""

    table: pa.Table

    def find(self, paths: pa.Array[Any]) -> dict[int, SidecarEntry]:
        """Look paths up that are relative to the index's folder: place in ``paths`` → entry."""
        rows: npt.NDArray[np.int64] = (
            pc.index_in(paths, value_set=self.table["path"])
            .fill_null(-1)
            .to_numpy(zero_copy_only=False)
        )
        places = np.flatnonzero(rows >= 0)
        found = self.table.take(rows[places])
        cameras = found["camera_id"].to_pylist()
        times = found["captured_at"].to_pylist()
        return {
            int(place): SidecarEntry(
                (camera or "").strip() or None, None if time is None else _microseconds(time)
            )
            for place, camera, time in zip(places, cameras, times, strict=True)
        }


@dataclass(frozen=True, slots=True)
class PlacedSidecar:
    """An index, its folder, and which rows of a walk it may hold for: ``start`` to before ``end``.

    ``folder`` is as the rows' ``path`` begins for photos in it.
    """

    sidecar: Sidecar
    folder: str
    start: int
    end: int


def read_sidecar(data: bytes, where: str) -> Sidecar:
    """Load an index.

    Args:
        data: the whole file.
        where: its path, which says by its end whether it is CSV or Parquet.

    Raises:
        ArchiveError: it cannot be read, or lacks the columns that make it an index. A wrong index
            would give wrong facts, so it is never passed over in silence.
    """
    try:
        if where.endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data))
        else:
            table = pc_csv.read_csv(
                io.BytesIO(data),
                parse_options=pc_csv.ParseOptions(newlines_in_values=True),
                convert_options=pc_csv.ConvertOptions(
                    column_types={name: pa.string() for name in _COLUMNS},
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(
            f"the index {where} cannot be read: {error}. Mend it, rename it or take it away"
        ) from None
    names = table.column_names
    if "path" not in names or not {"camera_id", "captured_at"} & set(names):
        raise ArchiveError(
            f"the index {where} has the columns {', '.join(names)}; needed are path and camera_id "
            "or captured_at. Mend it, or rename it if it is no index of photos"
        )
    columns: dict[str, Any] = {
        "path": _text(table, "path"),
        "camera_id": _text(table, "camera_id"),
        "captured_at": _times(table),
    }
    paths = columns["path"].to_pylist()
    if any(path and ("\\" in path or "./" in path or path[0] == "/") for path in paths):
        columns["path"] = pa.chunked_array([pa.array([_plain(path) for path in paths])])
    return Sidecar(pa.table(columns))


def _text(table: pa.Table, name: str) -> pa.ChunkedArray[Any]:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return table[name].cast(pa.string())


def _times(table: pa.Table) -> pa.ChunkedArray[Any]:
    if "captured_at" in table.column_names and pa.types.is_timestamp(table["captured_at"].type):
        # As numbers, since Arrow's times reach years that Python's do not.
        return table["captured_at"].cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return _text(table, "captured_at")


def _microseconds(value: str | int) -> int | None:
    return parse_iso(value) if isinstance(value, str) else plausible(value)


def _plain(path: str | None) -> str | None:
    if path is None:
        return None
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))
