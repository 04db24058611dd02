"""Labelled photos are found as a night finds them, or what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_files import encoded, put

from platemill.errors import ConfigurationError
from platemill.evaluation.photos import find_photos
from platemill.settings import Settings, load_settings

HEAD = "file,plate,xmin,ymin,xmax,ymax,country,note\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


def folder_with(path: Path, *names: str) -> Path:
    path.mkdir()
    rows = [f"{name},A123BC77,1,1,9,5,RU,\n" for name in names]
    (path / "labels.csv").write_text(HEAD + "".join(rows))
    return path


def test_photos_are_planned_as_a_night_s(tmp_path: Path, settings: Settings) -> None:
    folder = folder_with(tmp_path / "photos", "ö b.jpg", "deep/a.png", "c.jpg")
    put(folder / "ö b.jpg", encoded(seed=1))
    put(folder / "deep/a.png", encoded(".png", seed=2))
    put(folder / "c.jpg", encoded(seed=1))
    put(folder / "unlabelled.jpg", encoded(seed=3))
    photos = find_photos(settings, folder)
    assert list(photos.labels) == ["c.jpg", "deep/a.png", "ö b.jpg"]
    assert set(photos.images) == set(photos.labels)
    image = photos.images["c.jpg"]
    assert image.image_id == photos.images["ö b.jpg"].image_id, "the same bytes"
    assert image.byte_size == (folder / "c.jpg").stat().st_size
    assert list(find_photos(settings, folder, limit=2).images) == ["c.jpg", "deep/a.png"]


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path, settings: Settings) -> None:
    folder = folder_with(tmp_path / "photos", "a.jpg")
    put(folder / "a.jpg", encoded())
    (tmp_path / "link").symlink_to(folder)
    assert list(find_photos(settings, tmp_path / "link").images) == ["a.jpg"]


def test_missing_photos_are_named(tmp_path: Path, settings: Settings) -> None:
    names = [f"{n}.jpg" for n in range(7)]
    folder = folder_with(tmp_path / "photos", *names)
    put(folder / "3.jpg", encoded())
    with pytest.raises(ConfigurationError, match=r"not in the folder: 0.jpg.*5.jpg and 1 more"):
        find_photos(settings, folder)


def test_a_photo_that_cannot_be_used_is_named(tmp_path: Path, settings: Settings) -> None:
    folder = folder_with(tmp_path / "photos", "a.jpg")
    put(folder / "a.jpg", b"")
    with pytest.raises(ConfigurationError, match=r"a.jpg cannot be evaluated: zero_bytes"):
        find_photos(settings, folder)


def test_a_folder_that_is_not_there(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        find_photos(settings, tmp_path / "nowhere")
