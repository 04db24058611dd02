from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from photo_files import TAKEN, tar_bytes, zip_bytes

from platemill.archive.containers import Listing, list_tar, list_zip

FILE_TIME = 1_000_000


def listed(tmp_path: Path, data: bytes, kind: str = "tar") -> Listing:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    handle = os.open(path, os.O_RDONLY)
    try:
        return (list_tar if kind == "tar" else list_zip)(handle, FILE_TIME)
    finally:
        os.close(handle)


def contents(listing: Listing, data: bytes) -> dict[str, bytes]:
    return {
        name: data[m.offset : m.offset + m.byte_size]
        for name, m in listing.members.items()
        if m.reason is None
    }


def test_a_tar(tmp_path: Path) -> None:
    long_name = "d" * 90 + "/" + "n" * 150 + ".jpg"
    members = {"./a/b.jpg": b"one", "c//d.jpg": b"", long_name: b"x" * 5000}
    data = tar_bytes(members)
    listing = listed(tmp_path, data)
    assert listing.problem is None
    assert contents(listing, data) == {"a/b.jpg": b"one", "c/d.jpg": b"", long_name: b"x" * 5000}
    assert {m.modified_at for m in listing.members.values()} == {int(TAKEN.timestamp() * 1e6)}


def test_an_empty_tar(tmp_path: Path) -> None:
    assert listed(tmp_path, tar_bytes({})) == Listing()


def test_the_last_of_one_name_wins(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("a.jpg", b"old"), ("b.jpg", b"b"), ("./a.jpg", b"newer")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    listing = listed(tmp_path, out.getvalue())
    assert contents(listing, out.getvalue()) == {"a.jpg": b"newer", "b.jpg": b"b"}


def test_the_last_of_one_name_wins_in_a_zip(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.jpg", b"old")
        archive.writestr("a.jpg", b"newer")
    listing = listed(tmp_path, out.getvalue(), "zip")
    assert [m.byte_size for m in listing.members.values()] == [5]


def test_a_long_tar_is_listed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes({f"cam/{n:06}.jpg": b"" for n in range(3000)}))
    handle = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        listing = list_tar(handle, FILE_TIME)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        os.close(handle)
    assert len(listing.members) == 3000
    assert peak / 3000 < 600


def test_links_in_a_tar_lead_to_their_bytes(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("cam/a.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
        for name, kind, target in (
            ("hard.jpg", tarfile.LNKTYPE, "cam/a.jpg"),
            ("nohard.jpg", tarfile.LNKTYPE, "gone.jpg"),
            ("cam/soft.jpg", tarfile.SYMTYPE, "a.jpg"),
            ("up.jpg", tarfile.SYMTYPE, "cam/soft.jpg"),
            ("nosoft.jpg", tarfile.SYMTYPE, "../../etc/passwd"),
            ("loop1.jpg", tarfile.SYMTYPE, "loop2.jpg"),
            ("loop2.jpg", tarfile.SYMTYPE, "loop1.jpg"),
            ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            tar.addfile(link)
    listing = listed(tmp_path, out.getvalue())
    assert listing.problem is None
    good = contents(listing, out.getvalue())
    assert good == dict.fromkeys(["cam/a.jpg", "hard.jpg", "cam/soft.jpg", "up.jpg"], b"one")
    bad = {name: m.reason for name, m in listing.members.items() if m.reason}
    assert bad == dict.fromkeys(
        ["nohard.jpg", "nosoft.jpg", "loop1.jpg", "loop2.jpg", "pipe.jpg"], "unreadable"
    )


def test_a_tar_that_was_cut_keeps_its_good_members(tmp_path: Path) -> None:
    data = tar_bytes({f"{n}.jpg": bytes([n]) * 1000 for n in range(4)})
    # A member takes 512 bytes of header and 1024 of data.
    for cut, whole, word in (
        (3 * 1536, 3, "cut off"),  # between two members
        (3 * 1536 + 100, 3, "damaged|cut off"),  # in a header
        (3 * 1536 + 512 + 10, 3, "cut off"),  # in the data
        (4 * 1536, 4, "cut off"),  # only the end mark is missing
        (10, 0, "damaged"),
        (0, 0, "damaged"),
    ):
        listing = listed(tmp_path, data[:cut])
        assert len(contents(listing, data)) == whole, cut
        assert listing.problem is not None, cut
        assert any(choice in listing.problem for choice in word.split("|")), (cut, listing.problem)


def test_a_tar_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    data = bytearray(tar_bytes({f"{n}.jpg": bytes([n]) * 1000 for n in range(4)}))
    data[2 * 1536 : 2 * 1536 + 200] = b"\xa5" * 200
    listing = listed(tmp_path, bytes(data))
    assert set(listing.members) == {"0.jpg", "1.jpg"}
    assert listing.problem == f"damaged at byte {2 * 1536:,} of {len(data):,}"


def test_a_tar_that_claims_a_negative_size_ends(tmp_path: Path) -> None:
    header = bytearray(tar_bytes({"a.jpg": b"x" * 600})[:512])
    header[124:136] = b"\xff" * 11 + b"\x00"  # base 256, negative
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    listing = listed(tmp_path, bytes(header) * 3 + bytes(1024))
    assert listing.problem is not None
    assert not contents(listing, bytes(header))


def test_a_compressed_tar_under_a_plain_name(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz"):
        pass
    assert listed(tmp_path, out.getvalue()).problem is not None


def test_times_that_are_none_become_the_archives(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, time in (("zero.jpg", 0), ("far.jpg", 2**40), ("fine.jpg", 1_000)):
            info = tarfile.TarInfo(name)
            info.mtime = time
            tar.addfile(info)
    times = {n: m.modified_at for n, m in listed(tmp_path, out.getvalue()).members.items()}
    assert times == {"zero.jpg": FILE_TIME, "far.jpg": FILE_TIME, "fine.jpg": 1_000_000_000}


def test_a_zips_times_and_members(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"cam/a.jpg": b"x" * 1000, "cam/": b""}))
    listing = listed(tmp_path, bytes(data), "zip")
    (member,) = listing.members.values()
    assert member.byte_size == 1000
    assert member.modified_at == int(TAKEN.timestamp() * 1e6)
    # Month and day zero, as some tools write.
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02")) + 12
    data[at : at + 4] = bytes(4)
    (member,) = listed(tmp_path, bytes(data), "zip").members.values()
    assert member.modified_at == FILE_TIME


def test_zip_members_that_cannot_be_read(tmp_path: Path) -> None:
    lzma = listed(tmp_path, zip_bytes({"a.jpg": b"x"}, zipfile.ZIP_LZMA), "zip")
    assert lzma.members["a.jpg"].reason == "unreadable"
    assert "method 14" in (lzma.members["a.jpg"].detail or "")
    data = bytearray(zip_bytes({"a.jpg": b"x"}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 8, 1)
    encrypted = listed(tmp_path, bytes(data), "zip")
    assert encrypted.members["a.jpg"].detail == "encrypted"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_zip_that_was_cut_has_no_directory(share: float, tmp_path: Path) -> None:
    data = zip_bytes({f"{n}.jpg": os.urandom(500) for n in range(5)})
    listing = listed(tmp_path, data[: int(len(data) * share)], "zip")
    assert listing.members == {}
    assert listing.problem is not None
