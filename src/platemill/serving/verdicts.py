"""What is wrong with a network's answer, and what would mend it: verdicts of `profile check`."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from platemill.serving.environment import Finding
from platemill.vision.profile import Profile

__all__ = ["failure", "judge_detector", "judge_reader", "judge_stn"]

_NMS_ROWS = 1000

# What torch or onnxruntime says, and the cure.
_CURES = (
    (
        re.compile(r"view size is not compatible"),
        "the network calls .view on strides that it does not expect: write .reshape in its place "
        "and export it again",
    ),
    (
        re.compile(r"Got invalid dimensions|INVALID_ARGUMENT.*[Ii]nput"),
        "its input has a fixed size: set {part} to that size, or export it with a dynamic one",
    ),
    (
        re.compile(r"is invalid for input of size|shapes cannot be multiplied|must match the size|"
                   r"Sizes of tensors must match|[Kk]ernel size can't be greater"),
        "it was made for an input of another size: correct {part}",
    ),
    (
        re.compile(r"'CUDA' backend|CUDA driver|Found no NVIDIA"),
        "it holds tensors that only a GPU has: export it on the CPU (model.cpu(), then trace)",
    ),
    (
        re.compile(r"c10::Half|bias type|should be the same|expected scalar type"),
        "export it in float32: inputs come as float32",
    ),
    (
        re.compile(r"PytorchStreamReader|not a ZIP archive|InvalidProtobuf|INVALID_PROTOBUF|"
                   r"[Pp]rotobuf parsing failed"),
        "the file is damaged or in another form: export it again",
    ),
    (
        re.compile(r"No module named"),
        "build Triton's environment again with `make setup`",
    ),
    (
        re.compile(r"Unsupported model IR version|opset"),
        "it was exported with an opset that onnxruntime does not know: export it with opset 17",
    ),
)  # fmt: skip


def failure(what: str, error: BaseException) -> Finding:
    """A network that cannot be loaded or run: what it says last, and the cure if it is known."""
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    part = "detector.long_side" if what == "detector" else "crop.width and crop.height"
    cures = [cure.format(part=part) for pattern, cure in _CURES if pattern.search(text)]
    cure = cures[0] if cures else "run it by itself on such an input, then export it again"
    return Finding(what, False, f"it fails: {lines[-1][:300]}", cure)


def _shape(array: NDArray[np.float32]) -> str:
    return str(list(array.shape))


def _finite(what: str, answer: NDArray[np.float32]) -> Finding | None:
    share = 1.0 - float(np.isfinite(answer).mean()) if answer.size else 0.0
    if not share:
        return None
    cure = (
        "export it in float32, and compare the profile's colour and scale with its training "
        "(detector.white, crop.mean, crop.std)"
    )
    return Finding(what, False, f"{share:.0%} of what it gives is no finite number", cure)


def judge_detector(answer: NDArray[np.float32], profile: Profile) -> Finding | None:
    """What is wrong with a detector's answer for one photo; None if nothing is."""
    form, given = profile.detector.output, _shape(answer)
    cure = _form_cure(answer, profile)
    if cure:
        return Finding("detector", False, f"it gives {given}, which is not of form {form}", cure)
    if (unfinite := _finite("detector", answer)) is not None:
        return unfinite
    rows = answer[0].T if form == "yolov8" else answer[0]
    if form == "platemill":
        scores = rows[:, 4]
    else:
        before = 4 if form == "yolov8" else 5
        classes = rows.shape[1] - before
        if classes > 1 and profile.detector.plate_class < 0:
            seen = f"it gives {given}: {classes} classes"
            cure = (
                "set detector.plate_class to the number of the class that is a plate (from 0), or "
                "export a network of that class alone"
            )
            return Finding("detector", False, seen, cure)
        scores = rows[:, 4:]
    if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
        seen = f"its scores run from {scores.min():.3g} to {scores.max():.3g}, not from 0 to 1"
        cure = "export it with the last sigmoid, and check detector.output"
        return Finding("detector", False, seen, cure)
    if rows.size and np.abs(rows[:, :4]).max() <= 2:
        seen = f"its boxes run to {np.abs(rows[:, :4]).max():.3g}: they are no pixels of the input"
        return Finding("detector", False, seen, "export it with boxes in pixels of its input")
    return None


def _form_cure(answer: NDArray[np.float32], profile: Profile) -> str | None:
    """The cure for an answer whose shape is of another form; None if it is of the profile's."""
    form = profile.detector.output
    if answer.ndim != 3 or answer.shape[0] != 1:
        return (
            "its first output must be [1, 4 + classes, anchors] (yolov8) or [1, anchors, "
            "5 + classes] (yolov5): export the detection network without further steps"
        )
    _, second, third = answer.shape
    if form == "platemill" and third in (5, 14):
        return None
    if _chooses_itself(answer[0]):
        return "it seems to choose the boxes itself: export it without NMS (nms=False)"
    seems = "yolov5" if second > third >= 6 else "yolov8" if third > second >= 5 else None
    if seems is None:
        return "export a network with at least one class, and set detector.output to its form"
    if seems != form:
        return f"set detector.output = '{seems}'"
    classes = second - 4 if form == "yolov8" else third - 5
    known = profile.detector.plate_class < classes
    return None if known else f"correct detector.plate_class: its classes are 0 to {classes - 1}"


def _chooses_itself(rows: NDArray[np.float32]) -> bool:
    """Whether rows are boxes after NMS: two corners, a score and the number of a class."""
    if rows.shape[1] != 6 or len(rows) > _NMS_ROWS:
        return False
    numbers = rows[:, 5]
    return bool((numbers == np.round(numbers)).all() and numbers.min() == 0)


def judge_stn(answer: NDArray[np.float32], crops: NDArray[np.float32]) -> Finding | None:
    """What is wrong with the crops that an stn gives; None if nothing is."""
    if answer.shape != crops.shape:
        seen = f"it takes {_shape(crops)} and gives {_shape(answer)}"
        cure = "an stn gives crops of the size it takes: check crop.width and crop.height"
        return Finding("stn", False, seen, cure)
    return _finite("stn", answer)


def judge_reader(answer: NDArray[np.float32], rows: int, profile: Profile) -> Finding | None:
    """What is wrong with a reader's logits for some crops; None if nothing is."""
    reader = profile.reader
    wanted = (rows, reader.classes, reader.time_steps)
    seen = f"it gives {_shape(answer)}, wanted is {list(wanted)}: crop, class, time step"
    if answer.ndim != 3 or answer.shape[0] != rows:
        swapped = answer.ndim == 3 and answer.shape[1] == rows
        cure = "export it with the crop first, then the class, then the time step"
        return Finding("reader", False, seen, cure + (" (permute(1, 2, 0))" if swapped else ""))
    classes, steps = answer.shape[1:]
    if classes != reader.classes:
        if steps == reader.classes:
            cure = "classes and steps are swapped: export it with permute(0, 2, 1) at its end"
            return Finding("reader", False, seen, cure)
        text = (
            f"it gives {classes} classes, the alphabet has {len(reader.alphabet)} and the blank "
            f"makes {reader.classes}"
        )
        cure = f"write the {classes - 1} characters, in the network's order, as reader.alphabet"
        return Finding("reader", False, text, cure)
    if steps != reader.time_steps:
        longest = max(len(pattern.places) for pattern in profile.grammar)
        if steps < longest:
            text = f"it gives {steps} time steps, and the longest plate has {longest} characters"
            return Finding("reader", False, text, "shorten plates.kinds, or use wider crops")
        return Finding("reader", False, seen, f"set reader.time_steps = {steps}")
    return _finite("reader", answer)
