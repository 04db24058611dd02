"""Photos in every form, and archives of them, for tests."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from platemill.archive.inventory import Inventory, take_inventory
from platemill.schema import INVENTORY

LAYOUT = "{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg"
TAKEN = datetime(2026, 3, 1, 7, 5, 0, tzinfo=UTC)
NOTHING_KNOWN = INVENTORY.arrow.empty_table()


def pixels(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture of random colours."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def encoded(extension: str = ".jpg", seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    ok, data = cv2.imencode(extension, pixels(seed, height, width))
    assert ok
    return data.tobytes()


def with_exif(form: str = "JPEG", *, seed: int = 0, orientation: int = 1, **texts: str) -> bytes:
    """A photo with an EXIF block; ``texts`` are taken, offset and subseconds."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    tags = {"taken": 0x9003, "offset": 0x9011, "subseconds": 0x9291}
    exif.get_ifd(0x8769).update({tags[name]: text for name, text in texts.items()})
    out = io.BytesIO()
    Image.fromarray(pixels(seed)[:, :, ::-1].copy()).save(out, form, exif=exif)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it is ``side`` pixels wide and high."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + png_chunk(b"IEND", b"")
    )


def put(path: Path, data: bytes, at: datetime = TAKEN) -> Path:
    """Write a file with a modification time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def tar_bytes(members: Mapping[str, bytes], at: datetime = TAKEN) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), int(at.timestamp())
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_bytes(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, TAKEN.timetuple()[:6]), data, method)
    return out.getvalue()


def inventory_of(
    *archives: Path, known: pa.Table = NOTHING_KNOWN, layout: str = LAYOUT, **given: object
) -> Inventory:
    options: dict[str, object] = {"max_image_bytes": 1 << 20, **given}
    return take_inventory(archives, layout, known, **options)  # type: ignore[arg-type]


def rows_of(inventory: Inventory) -> dict[str, dict[str, object]]:
    """An inventory's rows by the last part of their names; refuses two of one name."""
    rows: dict[str, dict[str, object]] = {}
    for row in inventory.table.to_pylist():
        name = row["uri"].split("::")[0].rstrip("/").rsplit("/", 1)[-1]
        assert name not in rows, name
        rows[name] = row
    return rows
