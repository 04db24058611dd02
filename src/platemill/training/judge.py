r"""Measure a trained checkpoint on what was held out, in this process (without Triton).

    python -m platemill.training.judge detector --out runs/detector --photos LABELLED
    python -m platemill.training.judge reader --out runs/reader

writes ``OUT/evaluation.json`` and prints it. Plates are found and read as the served models do,
and counted as ``platemill evaluate`` counts them (docs/evaluation.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from platemill.documents import write_json
from platemill.errors import ConfigurationError
from platemill.evaluation.labels import Label, read_labels
from platemill.evaluation.matching import Seen, judge
from platemill.evaluation.measures import distance, measure
from platemill.render.crop import TEXTURE_SCALE, Crop, crop_of, random_negative
from platemill.render.kinds import DESIGNS, random_text
from platemill.render.labels import Labels
from platemill.render.plate import draw_plate
from platemill.render.scene import draw_scene
from platemill.training.calibration import calibration
from platemill.training.export import load_state
from platemill.training.nets import Detector, DetectorCandidates, Reader, Stn
from platemill.training.photos import read_photos, split
from platemill.training.scenes import HEIGHT, WIDTH
from platemill.vision.crops import normalise
from platemill.vision.ctc import Reading, decode
from platemill.vision.detector import prepare, select
from platemill.vision.profile import BUILT_IN

__all__ = ["EVALUATION", "judge_detector", "judge_reader"]

EVALUATION = "evaluation.json"

_SEED = 71_000_003
"""Of what is held out: far from the seeds that trainings are given."""

_DETECTION = (
    "photos",
    "plates",
    "recall",
    "precision",
    "false_positives",
    "false_positives_per_photo",
)
_ROWS = 64

Picture = tuple[NDArray[np.uint8], list[Label]]
Find = Callable[[NDArray[np.uint8]], list[Seen]]


def judge_detector(
    checkpoint: Path, scenes: int, boxes: Path | None = None, photos: Path | None = None
) -> dict[str, Any]:
    """Measure a detector's recall and false boxes.

    Args:
        checkpoint: of ``training.detector``.
        scenes: so many rendered scenes.
        boxes: the labelled photos that it was trained on; those of them that were held out.
        photos: other labelled photos.

    Returns:
        The step, and the figures for each of the sets that there are.
    """
    state = load_state(checkpoint)
    detector = Detector()
    detector.load_state_dict(state["average"])
    net = DetectorCandidates(detector).eval()

    def find(image: NDArray[np.uint8]) -> list[Seen]:
        tensor, letterbox = prepare(image)
        found = select(net(torch.from_numpy(tensor))[0].numpy(), letterbox)
        return [
            Seen("", "", 0.0, float(score), (box[0], box[1], box[2], box[3]))
            for score, box in zip(found.scores, found.boxes.tolist(), strict=True)
        ]

    said: dict[str, Any] = {"step": state["step"], "rendered scenes": _found(find, _drawn(scenes))}
    if boxes is not None:
        said["held-out photos"] = _found(find, _held_out(boxes))
    if photos is not None:
        said["photos"] = _found(find, _labelled(photos))
    return said


def _found(find: Find, pictures: Iterable[Picture]) -> dict[str, Any]:
    outcomes, count = [], 0
    with torch.inference_mode():
        for image, labels in pictures:
            count += 1
            outcomes += judge(str(count), labels, find(image), bool)
    figures = asdict(measure(outcomes, count))
    return {name: figures[name] for name in _DETECTION}


def _drawn(count: int) -> Iterator[Picture]:
    rng = np.random.default_rng(_SEED)
    for _ in range(count):
        scene = draw_scene(rng, WIDTH, HEIGHT)
        yield scene.image, _labels(scene.plates)


def _held_out(folder: Path) -> Iterator[Picture]:
    for image, plates in split(read_photos(folder))[1]:
        yield image, _labels(plates)


def _labelled(folder: Path) -> Iterator[Picture]:
    for name, labels in read_labels(folder).items():
        image = cv2.imread(str(folder / name))
        if image is None:
            raise ConfigurationError(f"{folder / name} is named in labels.csv: not readable")
        yield np.asarray(image, np.uint8), labels


def _labels(plates: Labels) -> list[Label]:
    return [
        Label("", (box[0], box[1], box[2], box[3]), note="ignore" if ignored else "")
        for box, ignored in zip(plates.boxes.tolist(), plates.ignored, strict=True)
    ]


def judge_reader(checkpoint: Path, crops: int) -> dict[str, Any]:
    """Measure STN and reader on rendered crops, by kind of plate.

    Args:
        checkpoint: of ``training.reader``.
        crops: so many of each kind, and of what is not to be read.

    Returns:
        The step; for each kind, by its name in the standard, the part whose raw text is exact
        and the character error rate; of what is not to be read the part that is left unread,
        and the part for which a text is published all the same; and how far the confidences of
        the kinds that are published can be trusted (`calibration`).
    """
    state = load_state(checkpoint)
    net = nn.Sequential(Stn(), Reader())
    net.load_state_dict(state["average"])
    net.eval()
    rng = np.random.default_rng(_SEED)
    kinds: dict[str, Any] = {}
    published: list[tuple[NDArray[np.float32], list[str]]] = []
    for name in dict.fromkeys(design.name for design in DESIGNS):
        designs = [design for design in DESIGNS if design.name == name]
        drawn = [designs[index % len(designs)] for index in range(crops)]
        plates = [draw_plate(random_text(rng, d), rng, TEXTURE_SCALE, d) for d in drawn]
        texts = [plate.text for plate in plates]
        logits = _logits(net, [crop_of(plate, rng) for plate in plates])
        kinds[name] = _read_rightly(decode(logits), texts)
        if name in BUILT_IN.plates.kinds:
            published.append((logits, texts))
    readings = decode(_logits(net, [crop_of(random_negative(rng), rng) for _ in range(crops)]))
    unread = {
        "crops": crops,
        "unread": sum(not reading.raw_text for reading in readings) / crops,
        "published": sum(bool(reading.plate) for reading in readings) / crops,
    }
    trusted = calibration(
        np.concatenate([logits for logits, _ in published]),
        [text for _, texts in published for text in texts],
    )
    return {
        "step": state["step"],
        "kind": kinds,
        "not to be read": unread,
        "calibration": trusted,
    }


def _read_rightly(readings: list[Reading], wanted: list[str]) -> dict[str, float]:
    pairs = list(zip((reading.raw_text for reading in readings), wanted, strict=True))
    return {
        "crops": len(pairs),
        "exact_rate": sum(read == text for read, text in pairs) / len(pairs),
        "char_error_rate": sum(distance(*pair) for pair in pairs) / sum(map(len, wanted)),
    }


def _logits(net: nn.Module, crops: list[Crop]) -> NDArray[np.float32]:
    """What the networks answer to crops: float32 [N, 23, 18]."""
    answers = []
    with torch.inference_mode():
        for start in range(0, len(crops), _ROWS):
            rows = np.stack([normalise(crop) for crop in crops[start : start + _ROWS]])
            answers.append(net(torch.from_numpy(rows)).numpy())
    return np.concatenate(answers)


def _lines(name: str, value: object) -> Iterator[str]:
    """A nested document as lines, a set of figures a line."""
    if not isinstance(value, dict):
        yield f"{name}: {value}"
    elif any(isinstance(part, dict) for part in value.values()):
        for part, inner in value.items():
            yield from _lines(f"{name} {part}".strip(), inner)
    else:
        shown = (
            f"{part.replace('_', ' ')} {'–' if v is None else format(v, '.4g')}"
            for part, v in value.items()
        )
        yield f"{name}: {', '.join(shown)}"


def main(arguments: list[str] | None = None) -> None:
    """Command line of the measuring."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.judge",
        description="Measure OUT/last.pt on what was held out and write OUT/evaluation.json.",
    )
    parser.add_argument("what", choices=["detector", "reader"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--boxes", type=Path, help="detector: the photos it was trained on")
    parser.add_argument("--photos", type=Path, help="detector: other photos, with labels.csv")
    parser.add_argument("--scenes", type=int, default=200, help="detector: scenes (%(default)s)")
    parser.add_argument("--crops", type=int, default=200, help="reader: of a kind (%(default)s)")
    o = parser.parse_args(arguments)
    checkpoint = o.out / "last.pt"
    if not checkpoint.exists():
        parser.error(f"no {checkpoint}: train first")
    try:
        if o.what == "detector":
            said = judge_detector(checkpoint, o.scenes, o.boxes, o.photos)
        else:
            said = judge_reader(checkpoint, o.crops)
    except ConfigurationError as error:
        parser.error(str(error))
    write_json(o.out / EVALUATION, said)
    print("\n".join(_lines("", said)))


if __name__ == "__main__":
    main()
