"""Runs a repository's networks one after another on one photo, and says what is wrong.

``python -m platemill.serving.probe`` runs in Triton's environment. It reads a JSON object with the
fields of `Task` from stdin and prints a list of findings as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.serving.contracts import MODEL_VERSION
from platemill.serving.environment import Finding
from platemill.serving.networks import open_detector
from platemill.serving.probe_task import Task
from platemill.serving.torchscript import Network
from platemill.serving.verdicts import failure, judge_detector, judge_reader, judge_stn
from platemill.vision.crops import prepare_crops
from platemill.vision.ctc import decode
from platemill.vision.detector import Detections, prepare, select
from platemill.vision.profile import Profile
from platemill.vision.profile_file import served_profile

__all__ = ["main"]


class _Stop(Exception):
    """A finding after which nothing more can be tried."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.seen)
        self.finding = finding


def _unless_well(finding: Finding | None) -> None:
    if finding is not None:
        raise _Stop(finding)


def _findings(task: Task) -> Iterator[Finding]:
    image = cv2.imread(task.photo)
    profile = served_profile(_folder(task, "yolo"))
    try:
        finding, plates = _detect(task, profile, image)
        yield finding
        known = Detections.of_boxes(np.array(task.boxes, np.float32).reshape(-1, 4))
        if not len(known):
            middle = np.array([[0.3, 0.45, 0.7, 0.55]], np.float32)
            known = Detections.of_boxes(middle * np.tile(image.shape[1::-1], 2).astype(np.float32))
        crops = prepare_crops(image, plates if len(plates) else known, profile.crop)
        # Two at least, and not the same, so that networks are seen with more than one row.
        crops = np.ascontiguousarray(np.concatenate([crops, crops[:1, :, :, ::-1]]))
        if profile.straightens:
            finding, crops = _straighten(task, crops)
            yield finding
        yield _read(task, profile, crops, reads=bool(len(plates)))
    except _Stop as stop:
        yield stop.finding


def _detect(task: Task, profile: Profile, image: NDArray[np.uint8]) -> tuple[Finding, Detections]:
    tensor, letterbox = prepare(image, profile.detector)
    network: Any = None
    try:
        network = open_detector(_folder(task, "yolo"), _args(task, "yolo"))
        answer = network(tensor)
    except Exception as error:
        wrong = failure("detector", error)
        if hasattr(network, "input_shape"):
            wants = f"its input is {network.input_shape}, sent was {list(tensor.shape)}"
            wrong = replace(wrong, seen=f"{wrong.seen}; {wants}")
        raise _Stop(wrong) from None
    _unless_well(judge_detector(answer, profile))
    plates = select(answer[0], letterbox, profile.detector)
    seen = f"{task.names['detector']} ({network}) takes {list(tensor.shape)} and gives "
    seen += f"{list(answer.shape)}: {len(plates)} found"
    if len(plates):
        seen += f", the best with score {plates.scores[0]:.2f}"
    return Finding("detector", True, seen), plates


def _straighten(task: Task, crops: NDArray[np.float32]) -> tuple[Finding, NDArray[np.float32]]:
    network, answer = _run(task, "stn", "stn", crops)
    _unless_well(judge_stn(answer, crops[:1]))
    rows = _in_rows(network, "stn", crops)
    seen = f"{task.names['stn']} ({network}) gives {list(rows.shape)}"
    return Finding("stn", True, seen), rows


def _read(task: Task, profile: Profile, crops: NDArray[np.float32], *, reads: bool) -> Finding:
    network, answer = _run(task, "lprnet", "reader", crops)
    _unless_well(judge_reader(answer, 1, profile))
    rows = _in_rows(network, "reader", crops, answer.shape[1:])
    seen = f"{task.names['reader']} ({network}) gives {list(rows.shape)}"
    if reads:
        reading = decode(rows[:1], profile.reader, profile.grammar)[0]
        seen += f": {reading.raw_text!r}, published as {reading.plate!r} ({reading.confidence:.2f})"
    return Finding("reader", True, seen)


def _run(
    task: Task, model: str, what: str, crops: NDArray[np.float32]
) -> tuple[Network, NDArray[np.float32]]:
    try:
        network = Network(_folder(task, model) / "model.pt", _args(task, model))
        return network, network(crops[:1])
    except Exception as error:
        raise _Stop(failure(what, error)) from None


def _in_rows(
    network: Network,
    what: str,
    crops: NDArray[np.float32],
    row_shape: tuple[int, ...] | None = None,
) -> NDArray[np.float32]:
    shape = crops.shape[1:]
    try:
        network.find_sizes(shape)
        return network.rows(crops, row_shape or shape)
    except Exception as error:
        text = f"it takes one crop at a time: {failure(what, error).seen}"
        cure = f"set {what}.rows_at_once = 1, or export it with a batch of any size"
        raise _Stop(Finding(what, False, text, cure)) from None


def _folder(task: Task, model: str) -> Path:
    return Path(task.repository) / model / MODEL_VERSION


def _args(task: Task, model: str) -> dict[str, str]:
    return {
        "model_name": model,
        "model_config": json.dumps(task.configs[model]),
        "model_repository": str(Path(task.repository) / model),
        "model_version": MODEL_VERSION,
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
    }


def main() -> None:
    """Read the task, print the findings."""
    task = Task(**json.load(sys.stdin))
    print(json.dumps([asdict(finding) for finding in _findings(task)]))


if __name__ == "__main__":
    main()
