"""An inventory of some known images alone."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest
from photo_files import encoded, inventory_of, put, rows_of, tar_bytes, with_exif, zip_bytes

from platemill.archive.inventory import INVENTORY_SCHEMA
from platemill.archive.retry import retry_inventory

LATER = datetime(2026, 7, 7, 7, tzinfo=UTC)
MOST = 1 << 20


def hash_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def test_only_the_named_ones_are_looked_at(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / f"{number}.jpg", encoded(seed=number))
    known = inventory_of(tmp_path).table
    (tmp_path / "0.jpg").unlink()
    chosen = known.filter(pc.ends_with(known["uri"], "1.jpg"))
    again = retry_inventory(chosen, MOST)
    assert again.table.schema == INVENTORY_SCHEMA
    assert again.table == again.delta == chosen
    assert (again.seen, again.new, again.found.deleted) == (1, 1, 0)
    assert again.moved.num_rows == again.unseen.num_rows == 0


def test_new_bytes_keep_the_time_of_a_path_and_bring_their_own_else(tmp_path: Path) -> None:
    put(tmp_path / "gate/2026/03/01/070500.jpg", encoded())
    put(tmp_path / "cam/loose.jpg", encoded(seed=1))
    put(tmp_path / "cam/exif.jpg", with_exif(taken="2026:03:04 05:06:07"))
    known = inventory_of(tmp_path)
    new = encoded(seed=5)
    put(tmp_path / "gate/2026/03/01/070500.jpg", new, LATER)
    put(tmp_path / "cam/loose.jpg", encoded(seed=6), LATER)
    put(tmp_path / "cam/exif.jpg", with_exif(taken="2026:03:05 05:06:07", seed=3), LATER)
    again = retry_inventory(known.table, MOST)
    rows = rows_of(again)
    assert rows["070500.jpg"] == {
        **rows_of(known)["070500.jpg"],
        "image_id": hash_of(new),
        "byte_size": len(new),
        "modified_at": LATER,
    }
    assert (rows["loose.jpg"]["day"], rows["loose.jpg"]["time_source"]) == (LATER.date(), "file")
    assert (rows["exif.jpg"]["day"], rows["exif.jpg"]["time_source"]) == (date(2026, 3, 5), "exif")
    moved = {row["uri"].rsplit("/", 1)[-1] for row in again.moved.to_pylist()}
    assert moved == {"loose.jpg", "exif.jpg"}
    # A whole inventory says the same of them, and reads none again.
    whole = inventory_of(tmp_path, known=again.table)
    assert whole.found.bytes_read == 0


def test_one_that_is_well_again_and_one_that_is_gone(tmp_path: Path) -> None:
    link = tmp_path / "a.jpg"
    link.symlink_to(tmp_path / "late")
    gone = put(tmp_path / "gone.jpg", encoded())
    known = inventory_of(tmp_path).table
    put(tmp_path / "late", encoded(seed=2))
    gone.unlink()
    rows = rows_of(retry_inventory(known, MOST))
    assert rows["a.jpg"]["rejected_reason"] is None
    assert rows["a.jpg"]["image_id"] == hash_of(encoded(seed=2))
    assert rows["gone.jpg"]["rejected_reason"] == "vanished"
    assert rows["gone.jpg"]["image_id"] == hash_of(encoded())


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_members_are_read_where_they_lay_unless_the_archive_was_rewritten(
    pack: object, tmp_path: Path
) -> None:
    kind = "tar" if pack is tar_bytes else "zip"
    members = {"a.jpg": encoded(seed=1), "../up.jpg": encoded(seed=2)}
    archive = put(tmp_path / f"t.{kind}", pack(members))  # type: ignore[operator]
    known = inventory_of(tmp_path).table
    assert retry_inventory(known, MOST).table == known
    put(archive, pack({"b.jpg": encoded(seed=3), **members}), LATER)  # type: ignore[operator]
    rows = retry_inventory(known, MOST).table.to_pylist()
    assert {row["rejected_reason"] for row in rows} == {"changed"}
    archive.unlink()
    rows = retry_inventory(known, MOST).table.to_pylist()
    assert {row["rejected_reason"] for row in rows} == {"vanished"}
