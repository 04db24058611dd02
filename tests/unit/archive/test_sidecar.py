from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photo_files import encoded, inventory_of, put, rows_of, tar_bytes, zip_bytes

from platemill.archive.sidecar import read_sidecar
from platemill.errors import ArchiveError

CAPTURED = datetime(2025, 12, 31, 22, 0, tzinfo=UTC)


def parquet(**columns: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_camera_and_time_from_csv(tmp_path: Path) -> None:
    index = (
        "note,path,camera_id,captured_at\n"
        "x,one.jpg,east,2026-01-01T01:00:00+03:00\n"
        'y,"deep/two, ""b"".jpg",west,2025-12-31 22:00:00\n'
        "z,./deep\\three.jpg,,2025-12-31T22:00:00Z\n"
        "z,four.jpg,north,\n"
        "z,five.jpg,south,soon\n"
    )
    put(tmp_path / "index.csv", index.encode())
    for name in ("one.jpg", 'deep/two, "b".jpg', "deep/three.jpg", "four.jpg", "five.jpg"):
        put(tmp_path / name, encoded())
    rows = inventory_of(tmp_path).table.sort_by("uri").to_pylist()
    told = {
        row["uri"].rsplit("/", 1)[-1].split(".")[0][:4]: (
            row["camera_id"],
            row["captured_at"] == CAPTURED,
            row["time_source"],
        )
        for row in rows
    }
    assert told == {
        "one": ("east", True, "index"),
        "two%": ("west", True, "index"),
        "thre": ("deep", True, "index"),
        "four": ("north", False, "file"),
        "five": ("south", False, "file"),
    }


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2025, 12, 31, 22)], pa.timestamp("ns")),
        pa.array([datetime(2025, 12, 31, 22)], pa.timestamp("s")),
        pa.array([CAPTURED.astimezone(timezone(timedelta(hours=3)))], pa.timestamp("ms", "+03:00")),
        pa.array(["2025-12-31T22:00:00Z"]),
    ],
)
def test_times_in_parquet(times: pa.Array, tmp_path: Path) -> None:
    put(tmp_path / "index.parquet", parquet(path=["a.jpg"], camera_id=["c"], captured_at=times))
    put(tmp_path / "a.jpg", encoded())
    row = rows_of(inventory_of(tmp_path))["a.jpg"]
    assert (row["camera_id"], row["captured_at"], row["time_source"]) == ("c", CAPTURED, "index")


def test_a_time_far_outside_is_none(tmp_path: Path) -> None:
    times = pa.array([2**60], pa.timestamp("us"))
    put(tmp_path / "index.parquet", parquet(path=["a.jpg"], captured_at=times))
    put(tmp_path / "a.jpg", encoded())
    assert rows_of(inventory_of(tmp_path))["a.jpg"]["time_source"] == "file"


def test_the_nearest_index_is_right_and_the_layout_before_it(tmp_path: Path) -> None:
    put(tmp_path / "index.csv", b"path,camera_id\nin/a.jpg,far\nin/b.jpg,far\nc.jpg,far\n")
    put(tmp_path / "in/index.csv", b"path,camera_id\na.jpg,near\n")
    put(tmp_path / "in/index.parquet", parquet(path=["a.jpg", "b.jpg"], camera_id=["x", "pq"]))
    layout_path = "cam/2026/02/03/040506.jpg"
    put(tmp_path / "in" / layout_path, encoded())
    put(
        tmp_path / "z/index.csv",
        f"path,camera_id,captured_at\n{layout_path},other,2020-01-01\n".encode(),
    )
    for name in ("in/a.jpg", "in/b.jpg", "c.jpg", "other/a.jpg"):
        put(tmp_path / name, encoded())
    rows = inventory_of(tmp_path).table.to_pylist()
    cameras = {
        row["uri"].removeprefix(tmp_path.as_uri() + "/"): (row["camera_id"], row["time_source"])
        for row in rows
    }
    assert cameras == {
        "in/a.jpg": ("near", "file"),
        "in/b.jpg": ("pq", "file"),
        "c.jpg": ("far", "file"),
        "other/a.jpg": ("other", "file"),
        f"in/{layout_path}": ("cam", "layout"),
    }


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
@pytest.mark.parametrize("inside", ["", "deep/"])
def test_an_index_in_an_archive(pack: object, inside: str, tmp_path: Path) -> None:
    kind = "tar" if pack is tar_bytes else "zip"
    members = {
        f"{inside}index.csv": b"path,camera_id,captured_at\nx/a.jpg,c,2025-12-31T22:00:00\n",
        f"{inside}x/a.jpg": encoded(),
        "x/b.jpg": encoded(),
    }
    put(tmp_path / f"all.{kind}", pack(members))  # type: ignore[operator]
    inventory = inventory_of(tmp_path / f"all.{kind}")
    rows = rows_of(inventory)
    assert rows["a.jpg"]["camera_id"] == "c"
    assert rows["a.jpg"]["captured_at"] == CAPTURED
    assert rows["b.jpg"]["camera_id"] == "x"
    assert inventory.found.ignored == 0


def test_the_nearest_index_in_an_archive_is_right(tmp_path: Path) -> None:
    members = {
        "index.csv": b"path,camera_id\nx/a.jpg,far\nx/b.jpg,far\n",
        "x/index.csv": b"path,camera_id\na.jpg,near\n",
        "x/a.jpg": encoded(),
        "x/b.jpg": encoded(),
    }
    put(tmp_path / "all.tar", tar_bytes(members))
    rows = rows_of(inventory_of(tmp_path))
    assert {name: row["camera_id"] for name, row in rows.items()} == {
        "a.jpg": "near",
        "b.jpg": "far",
    }


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("index.csv", b"", "cannot be read"),
        ("index.csv", b"file,plate\na.jpg,A001AA77\n", "has the columns file, plate"),
        ("index.csv", b"path,camera_id\na,b,c\n", "cannot be read"),
        ("index.csv", b"path\na.jpg\n", "needed are path and camera_id or captured_at"),
        ("index.parquet", b"PAR1 no more", "cannot be read"),
    ],
)
def test_a_wrong_index_is_said_not_passed_over(
    name: str, data: bytes, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=problem):
        read_sidecar(data, name)
    put(tmp_path / "cam" / name, data)
    put(tmp_path / "cam/a.jpg", encoded())
    with pytest.raises(ArchiveError, match="rename it") as caught:
        inventory_of(tmp_path)
    assert f"cam/{name}" in str(caught.value)


def test_an_index_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "index.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(ArchiveError, match="a link to a file that is not there"):
        inventory_of(tmp_path)
