"""Many images through one process, with networks that a test can follow."""

from __future__ import annotations

import numpy as np

from platemill.serving.pipeline import Pipeline
from platemill.vision.profile import BUILT_IN

STEPS, CLASSES = BUILT_IN.reader.time_steps, BUILT_IN.reader.classes
TEXT = "A123BC77"


class Networks:
    """A detector that finds a plate where an image is bright, and a reader that reads TEXT."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.read_rows: list[int] = []

    def detect(self, batch: np.ndarray) -> np.ndarray:
        self.seen.append(batch.shape)
        assert batch.strides[1] == batch.itemsize, "channels lie last"
        answers = np.zeros((len(batch), 3, 5), np.float32)
        for row, image in zip(answers, batch, strict=True):
            bright = float(image.mean())
            for number in range(3):
                left = 100.0 * number
                row[number] = [left, 10, left + 80, 30, 0.95 if number < bright * 3 else 0.0]
        return answers

    def straighten(self, crops: np.ndarray) -> np.ndarray:
        return crops + 1

    def read(self, crops: np.ndarray) -> np.ndarray:
        self.read_rows.append(len(crops))
        logits = np.full((len(crops), CLASSES, STEPS), -6, np.float32)
        labels = [BUILT_IN.reader.alphabet.index(c) for c in TEXT]
        logits[:, -1, :] = 6
        for step, label in enumerate(labels):
            logits[:, -1, 2 * step] = -6
            logits[:, label, 2 * step] = 6 + crops.mean(axis=(1, 2, 3))
        return logits


def images() -> list[np.ndarray]:
    sizes = [(448, 768), (100, 200), (448, 768), (720, 1280), (50, 60)]
    shades = [0, 90, 200, 255, 120]
    return [np.full((*size, 3), shade, np.uint8) for size, shade in zip(sizes, shades, strict=True)]


def pipeline_of(networks: Networks) -> Pipeline:
    return Pipeline(networks.detect, networks.straighten, networks.read, BUILT_IN)


def test_together_they_are_read_as_alone() -> None:
    pipeline = pipeline_of(Networks())
    together = pipeline(images())
    assert [len(reading) for reading in together] == [0, 2, 3, 3, 1]
    for image, seen in zip(images(), together, strict=True):
        (alone,) = pipeline([image])
        assert seen.texts == alone.texts == [TEXT] * len(alone)
        assert seen.raw_texts == alone.raw_texts
        for part in ("boxes", "confidences", "detection_scores"):
            assert np.array_equal(getattr(seen, part), getattr(alone, part)), part
            assert getattr(seen, part).dtype == np.float32


def test_images_of_one_input_size_are_detected_together_and_all_plates_read_at_once() -> None:
    networks = Networks()
    pipeline_of(networks)(images())
    assert sorted(shape[0] for shape in networks.seen) == [1, 1, 3]
    assert networks.read_rows == [9]


def test_without_a_candidate_nothing_is_read() -> None:
    networks = Networks()
    (reading,) = pipeline_of(networks)(images()[:1])
    assert len(reading) == 0
    assert reading.boxes.shape == (0, 4)
    assert networks.read_rows == []


def test_no_images() -> None:
    assert pipeline_of(Networks())([]) == []
