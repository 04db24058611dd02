from __future__ import annotations

import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from photo_files import encoded, inventory_of, put, rows_of, tar_bytes, zip_bytes

from platemill.archive.reader import ArchiveReader
from platemill.archive.uris import file_uri, member_uri
from platemill.errors import ImageRejected, RetryableError

NAMES = ["a.jpg", "cam 1/50%#.jpg", "ünï/車.png", "line\nbreak.jpg", "a:b/c::d.jpg"]


def reason(reader: ArchiveReader, uri: str, offset: int | None, size: int) -> str:
    with pytest.raises(ImageRejected) as caught:
        reader.read(uri, offset, size)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("kind", ["folder", "tar", "stored", "deflated"])
def test_reads_what_the_inventory_lists(kind: str, tmp_path: Path) -> None:
    photos = {name: encoded(seed=seed) for seed, name in enumerate(NAMES)}
    root = tmp_path / "photos"
    if kind == "folder":
        for name, data in photos.items():
            put(root / name, data)
    elif kind == "tar":
        put(root / "all.tar", tar_bytes(photos))
    else:
        method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        put(root / "all.zip", zip_bytes(photos, method))
    rows = inventory_of(root).table.to_pylist()
    with ArchiveReader(1 << 20) as reader:
        read = {
            row["uri"]: reader.read(row["uri"], row["offset"], row["byte_size"]) for row in rows
        }
    assert sorted(read.values()) == sorted(photos.values())


def test_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    photo = put(tmp_path / "a.jpg", b"x" * 100)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with ArchiveReader(1000) as reader:
        assert reader.read(file_uri(str(photo)), None, 100) == b"x" * 100
        for name in ("folder.jpg", "dangling.jpg", "loop.jpg", "pipe.jpg"):
            assert reason(reader, file_uri(str(tmp_path / name)), None, 100) == "unreadable"
        gone = file_uri(str(tmp_path / "gone.jpg"))
        assert reason(reader, gone, None, 100) == "vanished"
        assert reason(reader, file_uri(str(photo / "below.jpg")), None, 100) == "vanished"
        assert reason(reader, file_uri(str(photo)), None, 99) == "changed"
        assert reason(reader, file_uri(str(photo)), None, 101) == "changed"
        assert reason(reader, file_uri(str(photo)), None, 1001) == "too_large"


def test_a_member_of_an_archive_that_is_gone_or_shorter(tmp_path: Path) -> None:
    photo = encoded()
    path = put(tmp_path / "a.tar", tar_bytes({"x.jpg": photo}))
    row = rows_of(inventory_of(path))["x.jpg"]
    uri, offset = str(row["uri"]), int(str(row["offset"]))
    path.write_bytes(path.read_bytes()[: offset + 10])
    with ArchiveReader() as reader:
        assert reason(reader, uri, offset, len(photo)) == "changed"
    path.unlink()
    with ArchiveReader() as reader:
        assert reason(reader, uri, offset, len(photo)) == "vanished"


def test_a_zip_member_that_is_longer_than_it_says_is_cut_short(tmp_path: Path) -> None:
    path = put(tmp_path / "a.zip", zip_bytes({"x.jpg": b"\0" * 50_000_000}))
    uri = member_uri("zip", "x.jpg", file_uri(str(path)))
    with ArchiveReader() as reader:
        assert reason(reader, uri, 0, 1000) == "changed"


def test_a_damaged_zip_member(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"x.jpg": encoded()}))
    data[60:120] = b"\xff" * 60
    path = put(tmp_path / "a.zip", bytes(data))
    uri = member_uri("zip", "x.jpg", file_uri(str(path)))
    with ArchiveReader() as reader:
        assert reason(reader, uri, 0, len(encoded())) in ("unreadable", "changed")
        assert reason(reader, uri, 7, len(encoded())) == "unreadable"


def test_few_files_stay_open_and_all_are_closed(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    photos = [put(tmp_path / f"{n}.tar", tar_bytes({"x.jpg": encoded(seed=n)})) for n in range(12)]
    rows = [inventory_of(path).table.to_pylist()[0] for path in photos]
    before = open_files()
    reader = ArchiveReader(max_open=3)
    started = threading.Barrier(4)

    def read(row: dict[str, object]) -> bytes:
        if rows.index(row) < 4:
            started.wait()
        return reader.read(str(row["uri"]), row["offset"], row["byte_size"])  # type: ignore[arg-type]

    with reader, ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            expected = [encoded(seed=n) for n in range(12)]
            assert list(pool.map(read, rows)) == expected
            assert open_files() - before <= 3
            started.reset()
    assert open_files() == before


def test_running_out_of_file_handles_is_nobodys_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = put(tmp_path / "a.jpg", b"x")

    def no_more(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", no_more)
    with pytest.raises(RetryableError, match="Too many open files"):
        ArchiveReader().read(file_uri(str(photo)), None, 1)
