"""What must hold for any path, any bytes and any archive file."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_files import encoded, put, rows_of, tar_bytes, with_exif, zip_bytes
from photo_files import inventory_of as take
from PIL import Image

from platemill.archive.containers import list_tar, list_zip
from platemill.archive.decode import decode_image
from platemill.archive.exif import exif_time
from platemill.archive.layout import Layout
from platemill.archive.reader import ArchiveReader
from platemill.archive.times import to_datetime
from platemill.archive.uris import file_uri, member_uri, parse_uri
from platemill.errors import ImageRejected

# A busy machine is slow to make examples; that says nothing about the code.
SLOW = [HealthCheck.too_slow]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
SEGMENT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@QUICK
@given(
    camera=SEGMENT.filter(lambda s: s not in (".", "..")),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31, 23, 59, 59)),
    before=st.lists(SEGMENT, max_size=3),
    template=st.sampled_from(
        [
            "{camera}/{captured_at:%Y/%m/%d/%H%M%S}",
            "{captured_at:%Y%m%d}/{camera}/{captured_at:%H-%M-%S}",
            "{captured_at:%Y-%j}/{camera}_{captured_at:%Y%m%d_%H%M%S}",
            "{captured_at:%Y.%m.%d %H:%M:%S}/{camera}",
        ]
    ),
    extension=st.sampled_from(["jpg", "JPEG", "png", "TIFF", "webp"]),
)
def test_a_layout_reads_what_was_written_by_it(
    camera: str, time: datetime, before: list[str], template: str, extension: str
) -> None:
    time = time.replace(microsecond=0)
    path = template.replace("{camera}", "\0")
    while "{captured_at:" in path:
        start = path.index("{captured_at:")
        end = path.index("}", start)
        path = path[:start] + time.strftime(path[start + 13 : end]) + path[end + 1 :]
    path = path.replace("\0", camera)
    found = Layout(f"{template}.jpg").match("/".join([*before, f"{path}.{extension}"]))
    assert found is not None
    assert found.camera == camera
    assert found.captured_at is not None
    assert to_datetime(found.captured_at) == time.replace(tzinfo=UTC)


@QUICK
@given(template=st.text(st.sampled_from("{}:%YmdHMSjz/_-.camera_captured_at"), max_size=40))
def test_any_template_compiles_or_says_what_is_wrong(template: str) -> None:
    from platemill.errors import ConfigurationError

    try:
        layout = Layout(template)
    except ConfigurationError as error:
        assert "^" in str(error)
    else:
        layout.match("cam/2026/03/01/070500.jpg")


@QUICK
@given(path=st.binary(min_size=1).filter(lambda p: b"\0" not in p), member=SEGMENT)
def test_any_name_has_one_uri(path: bytes, member: str) -> None:
    name = "/" + os.fsdecode(path)
    uri = file_uri(name)
    assert parse_uri(uri).path == name
    inner = parse_uri(member_uri("zip", member, uri))
    assert (inner.path, inner.member) == (name, member)


def forms() -> list[bytes]:
    out = [encoded(e, height=24, width=24) for e in (".jpg", ".png", ".bmp", ".webp", ".tiff")]
    out.append(with_exif(orientation=6, taken="2026:03:01 07:05:09"))
    for form, options in (("JPEG", {"progressive": True}), ("TIFF", {"compression": "tiff_lzw"})):
        data = io.BytesIO()
        Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(data, form, **options)
        out.append(data.getvalue())
    return out


FORMS = forms()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An image with bytes changed, cut out, put in or cut off."""
    data = bytearray(draw(st.sampled_from(FORMS)))
    for _ in range(draw(st.integers(1, 6))):
        # Headers are where damage is interesting.
        at = draw(st.integers(0, min(200, len(data) - 1)) | st.integers(0, len(data) - 1))
        what = draw(st.sampled_from(["flip", "set", "word", "cut", "insert", "end"]))
        if what == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "set":
            data[at] = draw(st.sampled_from([0, 0xFF, 0x7F, 0x80, 0xD8, 0xD9, 0xDA]))
        elif what == "word":
            data[at : at + 4] = struct.pack("<I", draw(st.sampled_from([0, 1, 2**31, 2**32 - 1])))
        elif what == "cut":
            del data[at : at + draw(st.integers(1, 50))]
        elif what == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            del data[at + 1 :]
        if not data:
            return b""
    return bytes(data)


@settings(max_examples=1500, deadline=None, suppress_health_check=SLOW)
@given(data=mutated() | st.binary(max_size=100))
def test_damaged_bytes_are_an_image_or_rejected(data: bytes) -> None:
    exif_time(data)
    try:
        image = decode_image(data, 1_000_000)
    except ImageRejected as error:
        assert error.reason in {
            "zero_bytes",
            "not_an_image",
            "truncated",
            "too_many_pixels",
            "undecodable",
        }
        assert error.detail
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert image.shape[0] * image.shape[1] <= 1_000_000


ARCHIVES = [
    pack({f"cam/{n}.jpg": encoded(seed=n, height=9, width=9) for n in range(4)})
    for pack in (tar_bytes, zip_bytes)
]


@settings(max_examples=400, deadline=None, suppress_health_check=SLOW)
@given(
    which=st.integers(0, 1),
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=12)), max_size=5
    ),
    keep=st.floats(0.1, 1.0),
)
def test_a_damaged_archive_is_listed_and_read_or_rejected(
    which: int, changes: list[tuple[int, bytes]], keep: float
) -> None:
    data = bytearray(ARCHIVES[which])
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    kind = ("tar", "zip")[which]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / f"x.{kind}", bytes(data[: int(len(data) * keep)]))
        inventory = take(Path(folder))
        assert inventory.seen == inventory.table.num_rows
        with ArchiveReader(1 << 20) as reader:
            for row in inventory.table.to_pylist():
                if row["rejected_reason"] is None:
                    read = reader.read(row["uri"], row["offset"], row["byte_size"])
                    assert len(read) == row["byte_size"]
        handle = os.open(path, os.O_RDONLY)
        listing = (list_tar if kind == "tar" else list_zip)(handle, 0)
        os.close(handle)
        assert listing.problem is None or any(
            row["rejected_reason"] == "corrupt_archive" for row in inventory.table.to_pylist()
        )


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(
    photos=st.dictionaries(SEGMENT.filter(lambda s: s[0] != "."), st.binary(min_size=1), max_size=8)
)
def test_a_tar_and_a_zip_give_what_their_folder_gives(photos: dict[str, bytes]) -> None:
    photos = {f"{name.encode()[:60].hex()}.jpg": data for name, data in photos.items()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a").mkdir()
        for name, data in photos.items():
            put(root / "a" / name, data)
        put(root / "b/a.tar", tar_bytes(photos))
        put(root / "c/a.zip", zip_bytes(photos))
        found = [
            {
                name: (row["image_id"], row["camera_id"], row["captured_at"], row["byte_size"])
                for name, row in rows_of(take(root / part)).items()
            }
            for part in ("a", "b/a.tar", "c/a.zip")
        ]
    assert len(found[0]) == len(photos)
    assert found[0] == found[1] == found[2]
