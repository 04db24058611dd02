"""Every kind of bad input that an archive may hold: it becomes a row with a reason, or an error."""

from __future__ import annotations

import os
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest
from photo_files import encoded, inventory_of, put, rows_of, tar_bytes, zip_bytes

from platemill.archive.inventory import Inventory
from platemill.archive.reader import OpenFile


def reasons(inventory: Inventory) -> dict[str, object]:
    rows = rows_of(inventory)
    for row in rows.values():
        assert (row["rejected_reason"] is None) == (row["rejected_detail"] is None)
        assert len(str(row["image_id"])) == 32
    return {name: row["rejected_reason"] for name, row in rows.items()}


def test_things_in_a_folder_that_are_no_photos(tmp_path: Path) -> None:
    put(tmp_path / "good.jpg", encoded())
    put(tmp_path / "empty.jpg", b"")
    put(tmp_path / "text.jpg", b"text")
    put(tmp_path / "large.jpg", b"x" * 50_000)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.tar")
    put(tmp_path / "folder.jpg/inside.png", encoded(".png"))
    server = socket.socket(socket.AF_UNIX)
    with server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))
        inventory = inventory_of(tmp_path, max_image_bytes=40_000)
    assert reasons(inventory) == {
        "good.jpg": None,
        "empty.jpg": "zero_bytes",
        # What it holds is found out when it is decoded.
        "text.jpg": None,
        "large.jpg": "too_large",
        "dangling.jpg": "unreadable",
        "loop.jpg": "unreadable",
        "pipe.jpg": "unreadable",
        "pipe.tar": "unreadable",
        "socket.jpg": "unreadable",
        "inside.png": None,
    }


def test_a_folder_that_cannot_be_listed_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.jpg", encoded())
    put(tmp_path / "secret/b.jpg", encoded())
    original = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    inventory = inventory_of(tmp_path)
    assert reasons(inventory) == {"a.jpg": None, "secret": "unreadable"}
    row = rows_of(inventory)["secret"]
    assert row["uri"] == (tmp_path / "secret").as_uri() + "/"
    assert row["camera_id"] == "secret"


def test_a_file_that_vanishes_or_grows_while_the_inventory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = put(tmp_path / "gone.jpg", encoded())
    grows = put(tmp_path / "grows.jpg", encoded())
    shrinks = put(tmp_path / "shrinks.jpg", encoded())
    put(tmp_path / "stays.jpg", encoded())
    original = OpenFile.blocks

    def blocks(self: OpenFile, *rest: object) -> object:
        if self.location.path == str(grows):
            put(grows, encoded() + b"more")
        if self.location.path == str(shrinks):
            put(shrinks, encoded()[:-5])
        return original(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenFile, "blocks", blocks)
    inventory = inventory_of(tmp_path, progress=lambda _: gone.unlink(missing_ok=True))
    expected = {"gone.jpg": "vanished", "grows.jpg": "changed", "shrinks.jpg": "changed"}
    assert reasons(inventory) == {**expected, "stays.jpg": None}
    monkeypatch.undo()
    again = inventory_of(tmp_path, known=inventory.table)
    assert set(reasons(again).values()) == {None}
    assert again.seen == 3


def test_archives_in_a_folder_that_are_damaged(tmp_path: Path) -> None:
    photos = {f"{n}.jpg": encoded(seed=n) for n in range(3)}
    whole = tar_bytes(photos)
    put(tmp_path / "cut.tar", whole[: whole.index(photos["2.jpg"]) + 10])
    put(tmp_path / "junk.tar", os.urandom(5000))
    put(tmp_path / "empty.tar", b"")
    put(tmp_path / "packed.tar.gz", b"\x1f\x8b")
    put(tmp_path / "junk.zip", os.urandom(5000))
    put(tmp_path / "cut.zip", zip_bytes(photos)[:-30])
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "nowhere")
    put(tmp_path / "fine.jpg", encoded())
    assert reasons(inventory_of(tmp_path)) == {
        "0.jpg": None,
        "1.jpg": None,
        "cut.tar": "corrupt_archive",
        "junk.tar": "corrupt_archive",
        "empty.tar": "corrupt_archive",
        "packed.tar.gz": "compressed_archive",
        "junk.zip": "corrupt_archive",
        "cut.zip": "corrupt_archive",
        "dangling.zip": "unreadable",
        "fine.jpg": None,
    }


def test_a_cut_archive_that_is_mended_is_read_anew(tmp_path: Path) -> None:
    photos = {f"{n}.jpg": encoded(seed=n) for n in range(3)}
    whole = tar_bytes(photos)
    put(tmp_path / "a.tar", whole[:-9000])
    first = inventory_of(tmp_path)
    assert first.seen < 4
    again = inventory_of(tmp_path, known=first.table)
    assert again.table.sort_by("uri") == first.table.sort_by("uri")
    put(tmp_path / "a.tar", whole)
    assert reasons(inventory_of(tmp_path, known=again.table)) == dict.fromkeys(photos)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_of_an_archive(kind: str, tmp_path: Path) -> None:
    pack = tar_bytes if kind == "tar" else zip_bytes
    bad = ["../up.jpg", "a/../../deep.jpg", "/etc/root.jpg", "..\\win.jpg", "C:\\drive.jpg"]
    good = ["a..b/dots.jpg"]
    put(tmp_path / f"x.{kind}", pack({name: encoded() for name in bad + good}))
    found = reasons(inventory_of(tmp_path))
    assert sorted(map(str, found.values())) == ["None"] + ["unsafe_path"] * 5
    assert found["dots.jpg"] is None


def test_members_that_cannot_be_used(tmp_path: Path) -> None:
    members = {
        "a.jpg": encoded(),
        "empty.jpg": b"",
        "in.zip": zip_bytes({"b.jpg": encoded()}),
        "notes.txt": b"none",
    }
    put(tmp_path / "x.tar", tar_bytes(members))
    inventory = inventory_of(tmp_path)
    assert reasons(inventory) == {
        "a.jpg": None,
        "empty.jpg": "zero_bytes",
        "in.zip": "nested_archive",
    }
    assert inventory.found.ignored == 1


def test_a_member_that_says_it_is_huge_is_not_unpacked(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"bomb.jpg": b"\0" * 100_000, "fine.jpg": encoded()}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    put(tmp_path / "huge.zip", bytes(data))
    assert reasons(inventory_of(tmp_path)) == {"bomb.jpg": "too_large", "fine.jpg": None}


def test_a_member_that_is_longer_than_it_says_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(zip_bytes({"bomb.jpg": b"\0" * 50_000_000}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (1000).to_bytes(4, "little")
    put(tmp_path / "lies.zip", bytes(data))
    unpacked: list[int] = []
    original = OpenFile.blocks

    def blocks(self: OpenFile, *rest: object) -> object:
        for block in original(self, *rest):  # type: ignore[arg-type]
            unpacked.append(len(block))
            yield block

    monkeypatch.setattr(OpenFile, "blocks", blocks)
    inventory = inventory_of(tmp_path)
    assert reasons(inventory) == {"bomb.jpg": "unreadable"}
    assert sum(unpacked) == 1001


def test_a_tar_member_that_is_no_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("pipe.jpg", tarfile.FIFOTYPE), ("device.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    found = reasons(inventory_of(tmp_path))
    assert found == {"pipe.jpg": "unreadable", "device.jpg": "unreadable"}


def test_an_encrypted_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.jpg", encoded())
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    put(tmp_path / "x.zip", bytes(data))
    assert reasons(inventory_of(tmp_path)) == {"a.jpg": "unreadable"}
