"""Details of photos: enlarged, inside the photo whatever the box says, and small on a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from photo_files import pixels

from platemill.pages.pictures import crop, data_url, jpeg, shrunk


@pytest.mark.parametrize(
    "box",
    [
        (10.0, 10.0, 40.0, 20.0),
        (-50.0, -9.0, 5.0, 3.0),
        (200.0, 300.0, 260.0, 330.0),
        (-9.0, -9.0, -3.0, -3.0),
        (12.0, 12.0, 12.0, 12.0),
        (40.0, 20.0, 10.0, 10.0),
    ],
)
def test_a_box_anywhere_gives_a_detail_of_the_wanted_size(
    box: tuple[float, float, float, float],
) -> None:
    detail = crop(pixels(3), box, height=96, most=300)
    assert detail.dtype == np.uint8
    assert 1 <= detail.shape[0] <= 96
    assert 1 <= detail.shape[1] <= 300
    assert 96 in detail.shape[:1] or detail.shape[1] == 300


def test_a_detail_shows_what_is_in_the_box() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 30:70] = 255
    assert crop(image, (30, 40, 70, 60), height=40, most=400, margin=0)[5:-5, 5:-5].min() == 255


def test_a_photo_is_shrunk_and_never_enlarged() -> None:
    assert shrunk(pixels(1, 48, 64), 32).shape == (24, 32, 3)
    assert shrunk(pixels(1, 48, 64), 640).shape == (48, 64, 3)
    assert shrunk(pixels(1, 2, 640), 16).shape == (1, 16, 3)


def test_a_picture_in_a_page_is_the_picture() -> None:
    url = data_url(jpeg(pixels(2), 90))
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(image.astype(int) - pixels(2)).mean() < 8
