r"""Measure exported networks on labelled photos, in this process (without Triton).

    python -m platemill.training.evaluate --photos DIR --repository model_repository

`DIR/labels.csv` has the columns `file, plate, xmin, ymin, xmax, ymax, note`. A plate without
text counts for detection only; one whose note begins with `ignore` counts for nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from platemill.training.export import DETECTOR_FILE, READER_FILE, STN_FILE
from platemill.vision import crops, ctc, detector

SAME_FROM = 0.5
"""Overlap from which a box counts as the labelled plate's."""


@dataclass(frozen=True)
class Label:
    """A labelled plate: its text ("" if unknown), box float32 [4], whether it counts."""

    text: str
    box: NDArray[np.float32]
    ignored: bool


@dataclass(frozen=True)
class Found:
    """What was found in one photo, row by row."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    readings: list[ctc.Reading]


@dataclass
class Measures:
    """Counts and rates over a folder; times in milliseconds a photo."""

    photos: int = 0
    plates: int = 0
    texts: int = 0
    detected: int = 0
    false_boxes: int = 0
    exact: int = 0
    raw_exact: int = 0
    exact_in_labelled_box: int = 0
    false_texts: int = 0
    false_texts_sure: int = 0
    published_sure: int = 0
    character_errors: int = 0
    characters: int = 0
    ms_detector: float = 0.0
    ms_reader: float = 0.0
    errors: list[dict[str, str]] = field(default_factory=list)

    def rates(self) -> dict[str, float]:
        """Derive the rates, each between 0 and 1."""
        return {
            "exact_rate": self.exact / max(1, self.texts),
            "exact_rate_in_labelled_box": self.exact_in_labelled_box / max(1, self.texts),
            "recall": self.detected / max(1, self.plates),
            "precision": self.detected / max(1, self.detected + self.false_boxes),
            "false_boxes_a_photo": self.false_boxes / max(1, self.photos),
            "char_error_rate": self.character_errors / max(1, self.characters),
        }


class Pipeline:
    """The three exported networks with their pre- and post-processing."""

    def __init__(self, repository: Path) -> None:
        self.detector = torch.jit.load(str(repository / DETECTOR_FILE)).eval()
        self.stn = torch.jit.load(str(repository / STN_FILE)).eval()
        self.reader = torch.jit.load(str(repository / READER_FILE)).eval()

    def find(
        self, image: NDArray[np.uint8], threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [N, 4] and scores [N] of the plates in a BGR image [H, W, 3]."""
        tensor, letterbox = detector.prepare(image)
        with torch.no_grad():
            candidates = self.detector(torch.from_numpy(tensor))[0].numpy()
        return detector.select(candidates, letterbox, threshold)

    def read(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> list[ctc.Reading]:
        """Read the plates under boxes [N, 4] of a BGR image [H, W, 3]."""
        if not len(boxes):
            return []
        with torch.no_grad():
            straight = self.stn(torch.from_numpy(crops.prepare_crops(image, boxes)))
            return ctc.decode(self.reader(straight).numpy())


def load_labels(folder: Path) -> dict[str, list[Label]]:
    """Read `labels.csv`: the labels of every photo that has any."""
    labels: dict[str, list[Label]] = defaultdict(list)
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = np.array([float(row[s]) for s in ("xmin", "ymin", "xmax", "ymax")], np.float32)
            ignored = (row.get("note") or "").startswith("ignore")
            labels[row["file"]].append(Label(row["plate"], box, ignored))
    return dict(sorted(labels.items()))


def distance(read: str, wanted: str) -> int:
    """Levenshtein distance: characters to insert, delete or replace."""
    before = list(range(len(wanted) + 1))
    for i, a in enumerate(read, 1):
        now = [i]
        for j, b in enumerate(wanted, 1):
            now.append(min(now[-1] + 1, before[j] + 1, before[j - 1] + (a != b)))
        before = now
    return before[-1]


def judge(name: str, labels: list[Label], found: Found, measures: Measures) -> None:
    """Match what was found in one photo with its labels and count it."""
    taken: set[int] = set()
    measures.photos += 1
    for label in labels:
        overlap = detector.overlaps(label.box, found.boxes) if len(found.boxes) else np.zeros(0)
        hits = [i for i in np.argsort(-overlap) if overlap[i] >= SAME_FROM and i not in taken]
        if hits:
            taken.add(int(hits[0]))
        if label.ignored:
            continue
        measures.plates += 1
        measures.detected += bool(hits)
        if not label.text:
            continue
        reading = found.readings[hits[0]] if hits else ctc.Reading("", "", 0.0)
        measures.texts += 1
        measures.exact += reading.plate == label.text
        measures.raw_exact += reading.raw_text == label.text
        measures.characters += len(label.text)
        measures.character_errors += distance(reading.plate or reading.raw_text, label.text)
        if reading.plate and reading.plate != label.text:
            measures.false_texts += 1
            measures.false_texts_sure += reading.confidence >= 0.9
        measures.published_sure += bool(reading.plate) and reading.confidence >= 0.9
        if reading.plate != label.text:
            read = f"{reading.plate or '-'} (raw {reading.raw_text}, {reading.confidence:.2f})"
            measures.errors.append(
                {"file": name, "plate": label.text, "read": read if hits else "not found"}
            )
    for index in set(range(len(found.boxes))) - taken:
        measures.false_boxes += 1
        reading = found.readings[index]
        if reading.plate:
            measures.false_texts += 1
            measures.false_texts_sure += reading.confidence >= 0.9
            measures.published_sure += reading.confidence >= 0.9
        score = found.scores[index]
        said = f"{reading.plate or '-'} at {[int(v) for v in found.boxes[index]]} ({score:.2f})"
        measures.errors.append({"file": name, "plate": "", "read": said})


def evaluate(folder: Path, repository: Path, threshold: float) -> Measures:
    """Run the networks over every labelled photo of a folder."""
    pipeline = Pipeline(repository)
    measures = Measures()
    pipeline.find(np.zeros((720, 1280, 3), np.uint8), threshold)
    pipeline.read(np.zeros((720, 1280, 3), np.uint8), np.array([[0, 0, 99, 30]], np.float32))
    photos = load_labels(folder)
    for name, labels in photos.items():
        image = cv2.imread(str(folder / name))
        if image is None:
            raise FileNotFoundError(f"{folder / name} is named in labels.csv: not readable")
        began = time.perf_counter()
        boxes, scores = pipeline.find(image, threshold)
        between = time.perf_counter()
        readings = pipeline.read(image, boxes)
        measures.ms_detector += (between - began) * 1e3 / len(photos)
        measures.ms_reader += (time.perf_counter() - between) * 1e3 / len(photos)
        judge(name, labels, Found(boxes, scores, readings), measures)
        known = [label for label in labels if label.text and not label.ignored]
        if known:
            direct = pipeline.read(image, np.stack([label.box for label in known]))
            right = (r.plate == k.text for r, k in zip(direct, known, strict=True))
            measures.exact_in_labelled_box += sum(right)
    return measures


def main(arguments: list[str] | None = None) -> None:
    """Command line of the evaluation."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.evaluate",
        description="Measure exported networks on a folder of photos with labels.csv: texts "
        "read exactly end to end, detection, false boxes, time.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--repository", type=Path, required=True, help="Triton model repository")
    parser.add_argument(
        "--threshold", type=float, default=detector.SCORE_THRESHOLD, help="of the detector"
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch (all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--errors", action="store_true", help="list every error")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    measures = evaluate(options.photos, options.repository, options.threshold)
    table = {**asdict(measures), **measures.rates()}
    errors = table.pop("errors")
    if options.json:
        print(json.dumps({**table, "errors": errors}))
        return
    for name, value in table.items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")
    for error in errors if options.errors else []:
        print(f"{error['file']}  {error['plate'] or '(no plate)':10}  {error['read']}")


if __name__ == "__main__":
    main()
