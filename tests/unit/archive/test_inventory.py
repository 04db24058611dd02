from __future__ import annotations

import hashlib
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from photo_files import (
    LAYOUT,
    NOTHING_KNOWN,
    TAKEN,
    encoded,
    inventory_of,
    put,
    rows_of,
    tar_bytes,
    with_exif,
    zip_bytes,
)

from platemill.archive import facts
from platemill.archive.inventory import INVENTORY_SCHEMA, Found, Inventory
from platemill.archive.reader import OpenFile
from platemill.errors import ArchiveError, ConfigurationError


def hash_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def names(inventory: Inventory) -> list[str]:
    return sorted(rows_of(inventory))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files whose bytes are read, in order."""
    read: list[str] = []
    original = OpenFile.blocks

    def blocks(self: OpenFile, location: object, *rest: object) -> object:
        read.append(str(getattr(location, "member", "") or Path(self.location.path).name))
        return original(self, location, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenFile, "blocks", blocks)
    return read


def test_a_row_says_all_that_is_known(tmp_path: Path) -> None:
    data = encoded()
    put(tmp_path / "gate/2026/03/01/235959.jpg", data, datetime(2026, 4, 4, 4, 4, tzinfo=UTC))
    inventory = inventory_of(tmp_path)
    assert inventory.table.schema == INVENTORY_SCHEMA
    assert inventory.table.to_pylist() == [
        {
            "uri": (tmp_path / "gate/2026/03/01/235959.jpg").as_uri(),
            "image_id": hash_of(data),
            "camera_id": "gate",
            "captured_at": datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC),
            "day": date(2026, 3, 1),
            "byte_size": len(data),
            "modified_at": datetime(2026, 4, 4, 4, 4, tzinfo=UTC),
            "time_source": "layout",
            "offset": None,
            "archive_stamp": None,
            "rejected_reason": None,
            "rejected_detail": None,
            "deleted_at": None,
        }
    ]
    assert (inventory.seen, inventory.new, inventory.found.ignored) == (1, 1, 0)
    assert inventory.found.bytes_read == len(data)


def test_time_falls_from_source_to_source(tmp_path: Path) -> None:
    exif = with_exif(taken="2026:02:03 04:05:06", offset="-01:00")
    put(tmp_path / "cam/2026/03/01/070500.jpg", exif)
    put(tmp_path / "cam/2026/13/01/070500.jpg", exif)
    put(tmp_path / "cam/2026/13/02/070500.jpg", encoded())
    put(tmp_path / "cam/loose.jpg", exif)
    put(tmp_path / "cam/index.csv", b"path,captured_at\n2026/13/02/070500.jpg,2026-01-01\n")
    put(tmp_path / "root.png", encoded(".png"))
    rows = {
        row["uri"].removeprefix(tmp_path.as_uri()): (
            row["camera_id"],
            row["time_source"],
            row["captured_at"],
        )
        for row in inventory_of(tmp_path).table.to_pylist()
    }
    taken = datetime(2026, 2, 3, 5, 5, 6, tzinfo=UTC)
    assert rows == {
        "/cam/2026/03/01/070500.jpg": ("cam", "layout", TAKEN),
        # Month 13: the camera is still the path's.
        "/cam/2026/13/01/070500.jpg": ("cam", "exif", taken),
        "/cam/2026/13/02/070500.jpg": ("cam", "index", datetime(2026, 1, 1, tzinfo=UTC)),
        "/cam/loose.jpg": ("cam", "exif", taken),
        "/root.png": (tmp_path.name, "file", TAKEN),
    }


def test_absurd_file_times(tmp_path: Path) -> None:
    old = put(tmp_path / "old.jpg", encoded())
    far = put(tmp_path / "far.jpg", encoded())
    os.utime(old, ns=(0, -(10**18)))
    os.utime(far, (0, 15_000_000_000))
    rows = rows_of(inventory_of(tmp_path))
    assert rows["old.jpg"]["captured_at"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert str(rows["old.jpg"]["modified_at"]).startswith("1938-04-24")
    assert rows["far.jpg"]["day"] == date(2099, 12, 31)


def test_folders_tars_and_zips_in_one_folder(tmp_path: Path) -> None:
    photos = {f"cam/2026/03/01/07050{n}.jpg": encoded(seed=n) for n in range(6)}
    paths = list(photos)
    root = tmp_path / "mixed"
    for path in paths[:2]:
        put(root / path, photos[path])
    put(root / "deep/one.tar", tar_bytes({p: photos[p] for p in paths[2:4]}))
    put(root / "two.ZIP", zip_bytes({p: photos[p] for p in paths[4:]}))
    put(root / "notes.txt", b"none")
    put(root / ".hidden.jpg", encoded())
    put(root / ".thumbnails/a.jpg", encoded())
    put(root / "__MACOSX.zip", zip_bytes({"__MACOSX/._a.jpg": b"x", "b.JPEG": encoded(seed=9)}))
    inventory = inventory_of(root)
    rows = inventory.table.sort_by("uri").to_pylist()
    assert {row["image_id"] for row in rows} == {
        hash_of(data) for data in [*photos.values(), encoded(seed=9)]
    }
    assert [row["uri"].split("://")[0] for row in rows] == ["file"] * 2 + ["tar"] * 2 + ["zip"] * 3
    assert {row["camera_id"] for row in rows} == {"cam", "__MACOSX"}
    assert all(
        row["captured_at"] in (TAKEN + timedelta(seconds=n) for n in range(6)) for row in rows
    )
    assert inventory.found.ignored == 3
    one = next(row for row in rows if row["uri"].startswith("tar"))
    assert one["uri"] == f"tar://{paths[2]}::{(root / 'deep/one.tar').as_uri()}"


@pytest.mark.parametrize("name", ["all.tar", "all.zip"])
def test_a_named_archive_is_as_good_as_its_folder(name: str, tmp_path: Path) -> None:
    pack = tar_bytes if name.endswith("tar") else zip_bytes
    put(tmp_path / name, pack({"./a.jpg": encoded(), "x/b.jpg": encoded(seed=1)}))
    rows = rows_of(inventory_of(tmp_path / name))
    assert {n: row["camera_id"] for n, row in rows.items()} == {"a.jpg": "all", "b.jpg": "x"}


def test_a_cameras_own_folder_can_be_named(tmp_path: Path) -> None:
    put(tmp_path / "gate/2026/03/01/070500.jpg", encoded())
    assert (
        inventory_of(tmp_path / "gate").table.to_pylist()
        == inventory_of(tmp_path).table.to_pylist()
    )


def test_overlapping_archives_count_once(tmp_path: Path) -> None:
    put(tmp_path / "a/x.jpg", encoded())
    put(tmp_path / "a/b/y.jpg", encoded())
    put(tmp_path / "a/z.tar", tar_bytes({"m.jpg": encoded()}))
    (tmp_path / "again").symlink_to(tmp_path / "a")
    alone = inventory_of(tmp_path / "a")
    for archives in (
        (tmp_path / "a", tmp_path / "a"),
        (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/z.tar"),
        (tmp_path / "a/b", tmp_path / "a/z.tar", tmp_path / "a"),
        (tmp_path / "a", tmp_path / "again"),
        (tmp_path / "again",),
        (tmp_path,),
    ):
        inventory = inventory_of(*archives)
        assert sorted(inventory.table["uri"].to_pylist()) == sorted(alone.table["uri"].to_pylist())
        assert inventory.seen == 3


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path / "real/a.jpg", encoded())
    put(tmp_path / "outside/b.jpg", encoded(seed=1))
    root = tmp_path / "real"
    (root / "loop").symlink_to(root)
    (root / "deep").mkdir()
    (root / "deep/up").symlink_to(root / "deep")
    (root / "0-elsewhere").symlink_to(tmp_path / "outside")
    (root / "0-self").symlink_to("0-self")
    rows = rows_of(inventory_of(root))
    assert {name: row["uri"] for name, row in rows.items()} == {
        "a.jpg": (root / "a.jpg").as_uri(),
        "b.jpg": (root / "0-elsewhere/b.jpg").as_uri(),
    }


def test_odd_names(tmp_path: Path) -> None:
    odd = [
        "a b.jpg",
        "車 ü.jpg",
        "50%#?.jpg",
        "new\nline.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "a::b.jpg",
    ]
    for name in odd:
        put(tmp_path / "cam\n1" / name, encoded())
    rows = inventory_of(tmp_path).table.to_pylist()
    assert len(rows) == len(odd)
    assert {row["rejected_reason"] for row in rows} == {None}
    assert {row["camera_id"] for row in rows} == {"cam\n1"}
    bad_folder = put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/a.jpg")), encoded()).parent
    rows = inventory_of(bad_folder).table.to_pylist()
    assert [row["camera_id"] for row in rows] == ["\N{REPLACEMENT CHARACTER}"]


def test_an_empty_archive_has_no_rows(tmp_path: Path) -> None:
    for path in (
        tmp_path / "empty",
        put(tmp_path / "empty.tar", tar_bytes({})),
        put(tmp_path / "empty.zip", zip_bytes({})),
    ):
        if not path.suffix:
            path.mkdir()
        inventory = inventory_of(path)
        assert inventory.table.num_rows == inventory.seen == 0
        assert inventory.table.schema == INVENTORY_SCHEMA


def test_unchanged_files_are_not_read_again(tmp_path: Path, hashed: list[str]) -> None:
    for n in range(5):
        put(tmp_path / f"{n}.jpg", encoded(seed=n))
    put(tmp_path / "t.tar", tar_bytes({"in.jpg": encoded(seed=7)}))
    first = inventory_of(tmp_path)
    assert len(hashed) == 6
    hashed.clear()
    second = inventory_of(tmp_path, known=first.table)
    assert hashed == []
    assert second.new == second.found.bytes_read == 0
    assert second.seen == 6
    assert second.table.sort_by("uri") == first.table.sort_by("uri")


def test_changed_and_touched_files_are_read_again(tmp_path: Path, hashed: list[str]) -> None:
    put(tmp_path / "same.jpg", encoded())
    put(tmp_path / "touched.jpg", encoded(seed=1))
    put(tmp_path / "other.jpg", encoded(seed=2))
    put(tmp_path / "longer.jpg", encoded(seed=3))
    first = inventory_of(tmp_path)
    hashed.clear()
    later = TAKEN + timedelta(days=9)
    put(tmp_path / "touched.jpg", encoded(seed=1), later)
    put(tmp_path / "other.jpg", encoded(seed=20), later)
    put(tmp_path / "longer.jpg", encoded(seed=3) + b" ")
    second = inventory_of(tmp_path, known=first.table)
    assert sorted(hashed) == ["longer.jpg", "other.jpg", "touched.jpg"]
    then, now = rows_of(first), rows_of(second)
    assert now["same.jpg"] == then["same.jpg"]
    # The same bytes keep their time, and with it their day; other bytes are another photo.
    assert now["touched.jpg"] == {**then["touched.jpg"], "modified_at": later}
    assert now["other.jpg"]["captured_at"] == later
    for name in ("other.jpg", "longer.jpg"):
        assert now[name]["image_id"] != then[name]["image_id"]


def test_an_edited_template_moves_no_fact(tmp_path: Path) -> None:
    put(tmp_path / "x-7.jpg", encoded())
    first = inventory_of(tmp_path)
    put(tmp_path / "y-8.jpg", encoded(seed=1))
    second = rows_of(inventory_of(tmp_path, known=first.table, layout="{camera}-{n}.jpg"))
    assert second["x-7.jpg"] == rows_of(first)["x-7.jpg"]
    assert second["y-8.jpg"]["camera_id"] == "y"


@pytest.mark.parametrize("name", ["t.tar", "t.zip"])
def test_a_rewritten_archive_is_read_whole(name: str, tmp_path: Path, hashed: list[str]) -> None:
    pack = tar_bytes if name.endswith("tar") else zip_bytes
    archive = tmp_path / name
    # Same names, sizes and members' times: only the archive's own time tells.
    put(archive, pack({"a.bmp": encoded(".bmp", seed=1), "b.bmp": encoded(".bmp", seed=2)}))
    first = inventory_of(archive)
    put(
        archive,
        pack({"a.bmp": encoded(".bmp", seed=1), "b.bmp": encoded(".bmp", seed=3)}),
        TAKEN + timedelta(days=1),
    )
    hashed.clear()
    second = inventory_of(archive, known=first.table)
    assert len(hashed) == 2
    then, now = rows_of(first), rows_of(second)
    assert now["a.bmp"]["image_id"] == then["a.bmp"]["image_id"]
    assert now["b.bmp"]["image_id"] != then["b.bmp"]["image_id"]


def test_an_archive_that_came_back_loses_no_member(tmp_path: Path) -> None:
    archive = tmp_path / "t.tar"
    both = {"a.jpg": encoded(), "b.jpg": encoded(seed=1)}
    put(archive, tar_bytes(both))
    known = {row["uri"]: row for row in inventory_of(archive).table.to_pylist()}

    def again() -> Inventory:
        table = pa.Table.from_pylist(list(known.values()), schema=INVENTORY_SCHEMA)
        inventory = inventory_of(archive, known=table)
        known.update({row["uri"]: row for row in inventory.table.to_pylist()})
        return inventory

    put(archive, tar_bytes({"a.jpg": encoded()}), TAKEN + timedelta(days=1))
    assert names(again()) == ["a.jpg"]
    put(archive, tar_bytes(both))
    assert names(again()) == ["a.jpg", "b.jpg"]
    assert names(again()) == ["a.jpg", "b.jpg"]


def test_what_could_not_be_used_is_looked_at_again(tmp_path: Path) -> None:
    link = tmp_path / "a.jpg"
    link.symlink_to(tmp_path / "late/a")
    first = inventory_of(tmp_path)
    assert rows_of(first)["a.jpg"]["rejected_reason"] == "unreadable"
    again = inventory_of(tmp_path, known=first.table)
    assert again.table == first.table
    put(tmp_path / "late/a", encoded())
    second = rows_of(inventory_of(tmp_path, known=again.table))
    assert second["a.jpg"]["rejected_reason"] is None
    assert second["a.jpg"]["image_id"] == hash_of(encoded())


def test_a_lower_limit_holds_for_new_images_only(tmp_path: Path) -> None:
    put(tmp_path / "old.jpg", encoded())
    first = inventory_of(tmp_path)
    put(tmp_path / "new.jpg", encoded(seed=1))
    rows = rows_of(inventory_of(tmp_path, known=first.table, max_image_bytes=10))
    assert rows["new.jpg"]["rejected_reason"] == "too_large"
    assert rows["old.jpg"]["rejected_reason"] == "too_large"


def test_known_rows_of_other_archives_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path / "a/1.jpg", encoded())
    put(tmp_path / "b/2.jpg", encoded())
    known = inventory_of(tmp_path / "a", tmp_path / "b").table
    inventory = inventory_of(tmp_path / "a", known=known)
    assert names(inventory) == ["1.jpg"]
    assert inventory.new == 0


def test_days_leave_other_days_unread_but_seen(tmp_path: Path, hashed: list[str]) -> None:
    put(tmp_path / "c/2026/03/01/000000.jpg", encoded(seed=1))
    put(tmp_path / "c/2026/03/02/000001.jpg", encoded(seed=2))
    put(tmp_path / "c/2026/03/03/000002.jpg", encoded(seed=3))
    put(tmp_path / "unknown.jpg", encoded(seed=4), datetime(2020, 1, 1, tzinfo=UTC))
    put(tmp_path / "t.tar", tar_bytes({"c/2026/03/03/000003.jpg": encoded(seed=5)}))
    days = frozenset({date(2026, 3, 2)})
    inventory = inventory_of(tmp_path, days=days)
    # Only its bytes can tell when unknown.jpg was taken, and a tar is known as a whole.
    assert names(inventory) == ["000001.jpg", "000003.jpg", "unknown.jpg"]
    assert len(hashed) == 3
    assert (inventory.seen, inventory.new, inventory.found.postponed) == (5, 3, 2)
    hashed.clear()
    whole = inventory_of(tmp_path, known=inventory.table)
    assert sorted(hashed) == ["000000.jpg", "000002.jpg"]
    assert whole.seen == whole.table.num_rows == 5
    hashed.clear()
    again = inventory_of(tmp_path, known=whole.table, days=days)
    assert hashed == []
    assert again.seen == again.table.num_rows == 5


def test_many_files_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platemill.archive.rows._CHUNK", 7)
    monkeypatch.setattr("platemill.archive.inventory._CHUNK", 50)
    monkeypatch.setattr(facts, "_BATCH", 3)
    contents = {f"cam{n % 7}/{n:04}.jpg": b"photo %d" % n for n in range(331)}
    index = ["path,camera_id,captured_at"]
    for n, (name, data) in enumerate(contents.items()):
        put(tmp_path / name, data)
        if n % 2:
            index.append(f"{name},index{n},2026-01-01T00:00:{n % 60:02}")
    put(tmp_path / "index.csv", "\n".join(index).encode())
    reports: list[int] = []
    inventory = inventory_of(tmp_path, progress=reports.append)
    rows = {
        row["uri"].removeprefix(tmp_path.as_uri() + "/"): row for row in inventory.table.to_pylist()
    }
    assert len(rows) == inventory.seen == 331
    for n, (name, data) in enumerate(contents.items()):
        assert rows[name]["image_id"] == hash_of(data)
        assert rows[name]["camera_id"] == (f"index{n}" if n % 2 else f"cam{n % 7}")
    assert reports[-1] == 331


def test_saved_and_loaded(tmp_path: Path) -> None:
    put(tmp_path / "a/1.jpg", encoded())
    put(tmp_path / "a/2.txt", b"")
    inventory = inventory_of(tmp_path / "a")
    assert Found.load(tmp_path) is None
    inventory.found.save(tmp_path)
    assert Found.load(tmp_path) == inventory.found


def test_archives_that_cannot_be_opened(tmp_path: Path) -> None:
    folder = tmp_path / "fine"
    put(folder / "a.jpg", encoded())
    os.mkfifo(tmp_path / "pipe.tar")
    cases = {
        tmp_path / "nowhere": "does not exist",
        put(tmp_path / "photo.jpg", encoded()): "of no kind that is read: give a folder",
        put(tmp_path / "a.tar.gz", b"x"): "uncompressed .tar",
        put(tmp_path / "junk.tar", b"x" * 5000): "cannot be opened as a tar",
        put(tmp_path / "nothing.tar", b""): "cannot be opened as a tar",
        put(tmp_path / "junk.zip", b"x" * 5000): "cannot be opened as a zip",
        tmp_path / "pipe.tar": "not a file but a pipe",
    }
    for path, problem in cases.items():
        with pytest.raises(ArchiveError, match=problem) as caught:
            inventory_of(folder, path)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2
    with pytest.raises(ArchiveError, match="not on this machine"):
        inventory_of("s3://bucket/photos")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no archive is named"):
        inventory_of()
    with pytest.raises(ConfigurationError, match="wrong layout"):
        inventory_of(folder, layout="{camera")
    assert names(inventory_of(folder.as_uri())) == ["a.jpg"]  # type: ignore[arg-type]


def test_known_must_have_its_columns(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent, tmp_path / "x")
    with pytest.raises(ConfigurationError, match="no column image_id"):
        inventory_of(tmp_path, known=NOTHING_KNOWN.drop_columns(["image_id"]))
    older = NOTHING_KNOWN.drop_columns(["archive_stamp", "rejected_reason"])
    assert inventory_of(tmp_path, known=older, layout=LAYOUT).seen == 0
