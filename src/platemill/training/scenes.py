"""Endless batches of scenes for the detector's training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from platemill.render.labels import Labels
from platemill.render.scene import Scene, draw_on_photo, draw_scene
from platemill.training.photos import Photo, Photos

WIDTH, HEIGHT = 512, 384
"""Pixels of a training image."""

MOST_PLATES = 16
COLUMNS = 16
"""Of a plate's row: box 4, corners 8, then 0 or 1: used, corners known, two lines, ignored."""

_SPARE = 48
_POOL = 320
_MOSAICS = 0.18
_ALL_SWAPPED, _SOME_SWAPPED = 0.45, 0.25


Batch = tuple[Tensor, Tensor]


class Scenes(IterableDataset[Batch]):
    """Batches of images uint8 [B, 3, H, W] RGB and plates float32 [B, 16, 16].

    The columns of the plates are as `COLUMNS` says; unused rows are zero. Every scene is
    used a few times: each time another window of it, mirrored or not, in another light.

    Args:
        batch: images in a batch.
        seed: of all that is drawn; workers of a loader differ.
        photos: to draw upon, or None.
        photo_share: of the scenes are drawn upon photos.
        uses: of a scene, on average.
    """

    def __init__(
        self, batch: int, seed: int, photos: list[Photo] | None, photo_share: float, uses: float = 3
    ) -> None:
        self.batch = batch
        self.seed = seed
        self.photos = photos
        self.photo_share = photo_share if photos else 0.0
        self.uses = uses

    def __iter__(self) -> Iterator[Batch]:
        """Draw batch after batch; every worker has its own random stream."""
        cv2.setNumThreads(0)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        photos = Photos(self.photos) if self.photos else None
        pool: list[Scene] = []
        owed = 0.0
        while True:
            owed += self.batch if len(pool) < _POOL else self.batch / self.uses
            while owed >= 1:
                scene = self._draw(rng, photos)
                if len(pool) < _POOL:
                    pool.append(scene)
                else:
                    pool[int(rng.integers(0, _POOL))] = scene
                owed -= 1
            chosen = rng.permutation(len(pool))[: self.batch]
            yield collate([shown(rng, pool[i]) for i in chosen])

    def _draw(self, rng: np.random.Generator, photos: Photos | None) -> Scene:
        width, height = WIDTH + _SPARE, HEIGHT + _SPARE
        if photos is None or rng.random() >= self.photo_share:
            return draw_scene(rng, width, height)
        if rng.random() < _MOSAICS:
            return _mosaic(rng, photos, width, height)
        return _on_photo(rng, photos, width, height)


def _on_photo(
    rng: np.random.Generator, photos: Photos, width: int, height: int, small: bool = False
) -> Scene:
    chance = rng.random()
    turned = chance < 0.6 * _ALL_SWAPPED
    view = photos.view(rng, width, height, turned, small)
    swapped = np.full(len(view.plates), chance < _ALL_SWAPPED)
    if _ALL_SWAPPED <= chance < _ALL_SWAPPED + _SOME_SWAPPED:
        swapped = rng.random(len(view.plates)) < 0.5
    swapped &= ~view.plates.ignored
    plates = view.plates
    if turned:
        plates = replace(plates, ignored=plates.ignored | ~swapped)
    return draw_on_photo(rng, view.image, plates, swapped, view.roll)


def _mosaic(rng: np.random.Generator, photos: Photos, width: int, height: int) -> Scene:
    """Four scenes side by side, which meet somewhere near the middle."""
    x = int(rng.uniform(0.35, 0.65) * width)
    y = int(rng.uniform(0.35, 0.65) * height)
    image = np.empty((height, width, 3), np.uint8)
    plates = Labels.of_boxes(np.zeros((0, 4), np.float32))
    for left, top, right, bottom in ((0, 0, x, y), (x, 0, width, y), (0, y, x, height),
                                     (x, y, width, height)):  # fmt: skip
        part = _on_photo(rng, photos, right - left, bottom - top, small=True)
        image[top:bottom, left:right] = part.image
        plates = plates.joined(part.plates.shifted(left, top))
    return Scene(image, plates)


def shown(rng: np.random.Generator, scene: Scene) -> Scene:
    """Show a window of a scene, perhaps mirrored, a little lighter or darker, with gaps."""
    left, top = (int(v) for v in rng.integers(0, _SPARE + 1, 2))
    image = scene.image[top : top + HEIGHT, left : left + WIDTH]
    plates = scene.plates.shifted(-left, -top)
    if rng.random() < 0.3:
        image = image[:, ::-1]
        plates = plates.mapped(np.array([[-1.0, 0, WIDTH], [0, 1, 0], [0, 0, 1]]))
    plates = plates.within(WIDTH, HEIGHT)
    table = _exposure(rng)
    if table is not None:
        image = np.asarray(cv2.LUT(np.ascontiguousarray(image), table), np.uint8)
    if rng.random() < 0.15:
        image = np.array(image)
        for _ in range(int(rng.integers(1, 4))):
            _blank(rng, image, plates)
    return Scene(image, plates)


def _exposure(rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """Old to new brightness, uint8 [256]: a little off, burnt out, or night; None: as it is."""
    chance = rng.random()
    if chance < 0.4:
        gain, lift = rng.uniform(0.75, 1.2), rng.uniform(-15, 15)
    elif chance < 0.5:
        gain, lift = rng.uniform(1.2, 2.2), rng.uniform(0, 40)
    elif chance < 0.58:
        gain, lift = rng.uniform(0.15, 0.6), rng.uniform(0, 20)
    else:
        return None
    return np.clip(np.arange(256) * gain + lift, 0, 255).astype(np.uint8)


def _blank(rng: np.random.Generator, image: NDArray[np.uint8], plates: Labels) -> None:
    """Paint a rectangle over that touches no plate, in place."""
    wide, high = (int(v) for v in rng.integers(12, 110, 2))
    x, y = int(rng.integers(0, WIDTH - wide)), int(rng.integers(0, HEIGHT - high))
    b = plates.boxes
    apart = (b[:, 0] > x + wide) | (b[:, 2] < x) | (b[:, 1] > y + high) | (b[:, 3] < y)
    if apart.all():
        image[y : y + high, x : x + wide] = rng.integers(0, 256, 3)


def collate(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Stack scenes into images uint8 [B, 3, H, W] RGB and plates float32 [B, 16, 16]."""
    images = np.stack([scene.image[:, :, ::-1].transpose(2, 0, 1) for scene in scenes])
    rows = np.zeros((len(scenes), MOST_PLATES, COLUMNS), np.float32)
    for row, scene in zip(rows, scenes, strict=True):
        plates = scene.plates
        count = min(len(plates), MOST_PLATES)
        row[:count, :4] = plates.boxes[:count]
        row[:count, 4:12] = np.nan_to_num(plates.corners[:count].reshape(-1, 8))
        row[:count, 12] = 1
        row[:count, 13] = plates.known()[:count]
        row[:count, 14] = plates.two_lines[:count]
        row[:count, 15] = plates.ignored[:count]
    return torch.from_numpy(images), torch.from_numpy(rows)
