"""One whole night as a newcomer runs it: all parts real, bad input of every kind in the archive."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import psutil
import pytest
from PIL import Image

from platemill.render.archive import render_archive
from platemill.schema import TABLES

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

IMAGES = 24


def platemill(*arguments: str | Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "platemill", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    if check is not None:
        assert done.returncode == check, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


def answer(*arguments: str | Path) -> dict[str, Any]:
    """The one JSON object on stdout."""
    parsed: dict[str, Any] = json.loads(platemill(*arguments, "--json").stdout)
    return parsed


def sql(home: Path, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer("sql", "--home", home, query)["rows"]
    return rows


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def odd_files(folder: Path, scene: np.ndarray) -> dict[str, str | None]:
    """Write a file of every odd kind; returns name → reason it is quarantined for, None if fine."""
    folder.mkdir(parents=True)
    good = jpeg(scene)
    (folder / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture\n")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "pixel.jpg").write_bytes(jpeg(np.zeros((1, 1, 3), np.uint8)))
    Image.fromarray(scene[:, :, ::-1].copy()).convert("CMYK").save(folder / "cmyk.jpg")
    cv2.imwrite(str(folder / "grey.jpg"), scene[:, :, 0])
    cv2.imwrite(str(folder / "plain.png"), scene)
    cv2.imwrite(str(folder / "deep.png"), scene.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    turned = Image.fromarray(cv2.rotate(scene, cv2.ROTATE_90_COUNTERCLOCKWISE)[:, :, ::-1].copy())
    turned.save(folder / "turned.jpg", exif=exif, quality=95)
    (folder / "corrupt.tar").write_bytes(os.urandom(4096))
    with zipfile.ZipFile(folder / "slip.zip", "w") as archive:
        archive.writestr("../../slip.jpg", good)
        archive.writestr("inside.jpg", good)
    return {
        "truncated.jpg": "truncated",
        "empty.jpg": "zero_bytes",
        "text.jpg": "not_an_image",
        "bomb.png": "too_many_pixels",
        "dangling.jpg": "unreadable",
        "pixel.jpg": None,
        "cmyk.jpg": None,
        "grey.jpg": None,
        "plain.png": None,
        "deep.png": None,
        "turned.jpg": None,
        "corrupt.tar": "corrupt_archive",
        "slip.jpg": "unsafe_path",
        "inside.jpg": None,
    }


@dataclass
class Nights:
    """Two nights over one home: the photos with every odd file, then what came late, in a tar."""

    home: Path
    photos: Path
    odd: dict[str, str | None]
    first: dict[str, Any]
    second: dict[str, Any]
    started: set[str]
    left_over: dict[int, str]


MARK = "NIGHT_UNDER_TEST"


def processes_of(mark: str) -> dict[int, str]:
    """Processes that a night started, by the mark in their environment: id → name."""
    found = {}
    for process in psutil.process_iter(["pid", "name"]):
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found[process.info["pid"]] = process.info["name"]
    return found


class Watch:
    """Notes which processes a night starts while it runs."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.wait(1.0):
            self.seen.update(processes_of(self.mark).values())

    def __enter__(self) -> Watch:
        os.environ[MARK] = self.mark
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        del os.environ[MARK]
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    root = tmp_path_factory.mktemp("night")
    home = root / "home"
    demo = render_archive(root / "photos", images=IMAGES, seed=11)
    photos = root / "photos" / "archive"
    scene = cv2.imread(str(sorted(photos.rglob("*.jpg"))[0]))
    assert scene is not None, demo
    odd = odd_files(photos / "odd", scene)
    with Watch(str(root)) as watch:
        first = answer("run", "--home", home, "--archive", photos, "--error-budget", "0.9")
    left_over = processes_of(watch.mark)
    late = root / "late.tar"
    with tarfile.open(late, "w") as tar:
        for index, path in enumerate(sorted((root / "photos" / "late").rglob("*.jpg"))):
            data = path.read_bytes()
            info = tarfile.TarInfo(str(path.relative_to(root / "photos" / "late")))
            info.size, info.mtime = len(data), 1_780_000_000 + index
            tar.addfile(info, io.BytesIO(data))
    second = answer("run", "--home", home, "--archive", photos, "--archive", late)
    return Nights(home, photos, odd, first, second, watch.seen, left_over)


def test_the_summary_says_what_happened(nights: Nights) -> None:
    first = nights.first
    assert first["generation"] == 1
    assert first["images_seen"] == first["images_new"]
    assert first["images_new"] == first["recognised"] + first["no_plate"] + first["quarantined"]
    assert first["images_new"] >= IMAGES + len(nights.odd)
    assert first["recognised"] >= IMAGES // 3
    assert first["plates"] >= first["recognised"]
    assert first["images_per_second"] > 0
    assert {
        "inventory",
        "plan",
        "recognise",
        "facts",
        "tiles",
        "checks",
        "features",
        "publish",
    } <= (first["seconds"].keys())


def test_real_servers_ran_and_none_is_left(nights: Nights) -> None:
    assert {"raylet", "gcs_server", "tritonserver"} <= nights.started
    assert nights.left_over == {}


def test_every_odd_file_is_a_row_with_its_reason(nights: Nights) -> None:
    rows = sql(nights.home, "SELECT uri, status, reason, detail, width, height FROM images")
    for name, reason in nights.odd.items():
        (row,) = [
            r for r in rows if f"/odd/{name}" in r["uri"] or r["uri"].split("::")[0].endswith(name)
        ]
        if reason is None:
            assert row["status"] in ("recognised", "no_plate"), (name, row)
            assert row["width"] > 0, row
        else:
            assert (row["status"], row["reason"]) == ("quarantined", reason), (name, row)
            assert row["detail"], (name, row)


def test_the_same_photo_reads_the_same_in_every_lossless_form(nights: Nights) -> None:
    rows = sql(
        nights.home,
        "SELECT split_part(uri, '/', -1) AS name, list(plate ORDER BY plate_index) AS plates "
        "FROM recognitions WHERE uri LIKE '%/odd/%' GROUP BY ALL",
    )
    read = {row["name"]: row["plates"] for row in rows}
    assert read.get("deep.png") == read.get("plain.png")


def test_days_conserve_their_images_and_plates(nights: Nights) -> None:
    total = nights.first["images_new"] + nights.second["images_new"]
    assert sql(nights.home, "SELECT count(*) AS n FROM images") == [{"n": total}]
    broken = sql(
        nights.home,
        "SELECT day, sum(plates) AS said, (SELECT count(*) FROM recognitions r WHERE r.day = i.day)"
        " AS seen FROM images i GROUP BY day HAVING said <> seen",
    )
    assert broken == []


def test_late_photos_make_their_days_new_and_nothing_else(nights: Nights) -> None:
    assert nights.second["generation"] == 2
    assert nights.second["images_new"] > 0
    assert nights.second["images_seen"] == nights.first["images_seen"] + nights.second["images_new"]
    rows = sql(
        nights.home,
        "SELECT sum(sightings)::BIGINT AS n, 'day' AS grain FROM plate_day_v1 UNION ALL "
        "SELECT sum(sightings)::BIGINT, 'week' FROM plate_week_v1 UNION ALL "
        "SELECT sum(sightings)::BIGINT, 'month' FROM plate_month_v1 UNION ALL "
        "SELECT count(DISTINCT (camera_id, captured_at, image_id, plate_index)), 'facts' "
        "FROM recognitions WHERE plate <> ''",
    )
    assert len({row["n"] for row in rows}) == 1, rows


def test_a_night_with_nothing_new_says_so_and_starts_nothing(nights: Nights) -> None:
    done = platemill("run", "--home", nights.home, "--archive", nights.photos)
    assert "Nothing new" in done.stdout
    again = answer("run", "--home", nights.home, "--archive", nights.photos)
    assert (again["generation"], again["images_new"]) == (2, 0)


def test_a_stock_duckdb_sees_every_table(nights: Nights) -> None:
    with duckdb.connect(str(nights.home / "warehouse.duckdb"), read_only=True) as connection:
        shown = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
        assert set(TABLES) <= shown
        (count,) = connection.execute("SELECT count(*) FROM images").fetchall()[0]
    assert count == nights.first["images_new"] + nights.second["images_new"]


def test_lookups_answer_what_sql_says(nights: Nights) -> None:
    (best,) = sql(
        nights.home,
        "SELECT plate, day, sightings FROM plate_day_v1 "
        "ORDER BY sightings DESC, plate, day DESC LIMIT 1",
    )
    newest = sql(
        nights.home,
        f"SELECT sightings FROM plate_day_v1 WHERE plate = '{best['plate']}' "
        "ORDER BY day DESC LIMIT 1",
    )[0]
    # The archive's days stay the same, however long ago they are.
    asked = ("plate", best["plate"], "X000XX00", "--include-expired")
    rows = answer("lookup", "--home", nights.home, *asked)["rows"]
    assert [row["found"] for row in rows] == [True, False]
    assert any(
        value == newest["sightings"] for name, value in rows[0].items() if "sightings" in name
    )
    (camera,) = sql(nights.home, "SELECT camera_id FROM camera_day_v1 ORDER BY 1 LIMIT 1")
    assert answer("lookup", "--home", nights.home, "camera", camera["camera_id"])["rows"][0][
        "found"
    ]
    (image,) = sql(
        nights.home, "SELECT image_id, plate FROM recognitions ORDER BY 1, 2 DESC LIMIT 1"
    )
    (row,) = answer("lookup", "--home", nights.home, "image", image["image_id"])["rows"]
    assert image["plate"] in str(row)


def test_status_tells_the_story(nights: Nights) -> None:
    found = answer("status", "--home", nights.home)
    assert found["generation"] == 2
    assert {row["reason"] for row in found["quarantined"]} >= set(nights.odd.values()) - {None}
    assert found["waiting"] == []
    assert {row["state"] for row in found["runs"]} <= {"published", "nothing new"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--archive", "/nowhere/at/all"), "does not exist"),
        (("--archive", "CORRUPT"), "corrupt.tar"),
        (("--archive", "PHOTOS", "--day", "yesterday"), "2026-05-04"),
        (("--archive", "PHOTOS", "--layout", "{nonsense"), "layout"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_cure(
    nights: Nights, arguments: tuple[str, ...], words: str
) -> None:
    places = {"CORRUPT": str(nights.photos / "odd" / "corrupt.tar"), "PHOTOS": str(nights.photos)}
    given = [places.get(word, word) for word in arguments]
    done = platemill("run", "--home", nights.home, *given, check=2)
    assert words in done.stderr
    assert done.stdout == ""


def test_an_empty_archive_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    done = platemill(
        "run", "--home", tmp_path / "home", "--archive", tmp_path / "archive", "--json"
    )
    assert json.loads(done.stdout)["images_seen"] == 0
    assert "no image" in done.stderr


def test_sql_cannot_write(nights: Nights) -> None:
    for statement in ("CREATE TABLE x (i INTEGER)", "COPY images TO '/tmp/out.csv'", "SELEC 1"):
        platemill("sql", "--home", nights.home, statement, check=2)
