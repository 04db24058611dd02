"""The demo archive."""

import csv
from datetime import date
from pathlib import Path

import cv2
import pytest

from platemill.render.archive import render_archive
from platemill.vision.plates import is_well_formed


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    render_archive(out, images=24, cameras=2, days=3, first_day=date(2026, 5, 4), seed=3)
    return out


def test_files_follow_the_template(demo: Path) -> None:
    files = sorted((demo / "archive").rglob("*.jpg"))
    assert len(files) == 23 + 3
    for file in files:
        camera, year, month, day, name = file.relative_to(demo / "archive").parts
        assert camera in ("camera-1", "camera-2")
        assert (year, month) == ("2026", "05")
        assert day in ("04", "05", "06")
        assert len(name) == len("HHMMSS.jpg")


def test_truth_names_every_file_and_its_plates(demo: Path) -> None:
    with (demo / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {row["uri"] for row in rows}
    found = {p.relative_to(demo).as_posix() for p in demo.rglob("*.jpg")}
    assert named == found
    for row in rows:
        if row["plate"]:
            assert is_well_formed(row["plate"])
            assert 0 <= float(row["xmin"]) < float(row["xmax"]) <= 1280
            assert 0 <= float(row["ymin"]) < float(row["ymax"]) <= 720
    plates = [row["plate"] for row in rows if row["plate"]]
    assert len(set(plates)) < len(plates)


def test_good_photos_are_photos_and_broken_ones_are_not(demo: Path) -> None:
    with (demo / "truth.csv").open(newline="") as file:
        kinds = {row["uri"]: row["kind"] for row in csv.DictReader(file)}
    assert sorted(k for k in kinds.values() if k not in ("photo", "late")) == [
        "empty",
        "text",
        "truncated",
    ]
    for uri, kind in kinds.items():
        if kind in ("photo", "late"):
            image = cv2.imread(str(demo / uri))
            assert image is not None
            assert image.shape == (720, 1280, 3)
        elif kind == "empty":
            assert (demo / uri).stat().st_size == 0


def test_the_same_seed_writes_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    made = render_archive(
        tmp_path,
        images=24,
        cameras=2,
        days=3,
        first_day=date(2026, 5, 4),
        seed=3,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (27, 27)
    assert (made.photos, made.late, made.broken) == (23, 1, 3)
    for file in demo.rglob("*.*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / file.relative_to(demo)).read_bytes()


def test_an_archive_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        render_archive(tmp_path, images=0)
