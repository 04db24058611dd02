"""What `profile check` says of a network's answer."""

import numpy as np
import pytest

from platemill.serving.verdicts import failure, judge_detector, judge_reader, judge_stn
from platemill.vision.profile import Profile

CROPS = np.zeros((2, 3, 24, 94), np.float32)


def profile(output: str = "yolov8", **given: object) -> Profile:
    detector = {"file": "x.onnx", "output": output, **given}
    return Profile.model_validate({"detector": detector})


def reader(**given: object) -> Profile:
    return Profile.model_validate({"reader": {"file": "x.pt", **given}})


def answer(*shape: int, score: float = 0.5) -> np.ndarray:
    """Boxes in pixels with scores, in whichever of the two forms the shape has."""
    array = np.full(shape, score, np.float32)
    if len(shape) == 3:
        (array if shape[1] > shape[2] else array.transpose(0, 2, 1))[..., :4] = 300
    return array


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        ("yolov8", (1, 5, 8400)),
        ("yolov5", (1, 25200, 6)),
        ("platemill", (1, 5376, 5)),
        ("platemill", (1, 5376, 14)),
    ],
)
def test_an_answer_of_the_form_is_well(form: str, shape: tuple[int, ...]) -> None:
    assert judge_detector(answer(*shape), profile(form)) is None


@pytest.mark.parametrize(
    ("form", "shape", "said", "cure"),
    [
        ("yolov8", (1, 84, 8400), "80 classes", "detector.plate_class"),
        ("yolov5", (1, 25200, 85), "80 classes", "detector.plate_class"),
        ("yolov8", (1, 25200, 6), "[1, 25200, 6]", "detector.output = 'yolov5'"),
        ("yolov5", (1, 5, 8400), "[1, 5, 8400]", "detector.output = 'yolov8'"),
        ("platemill", (1, 5, 8400), "not of form platemill", "detector.output = 'yolov8'"),
        ("platemill", (1, 25200, 6), "not of form platemill", "detector.output = 'yolov5'"),
        ("yolov8", (1, 4, 8400), "[1, 4, 8400]", "at least one class"),
        ("yolov8", (1, 3, 80, 80, 6), "[1, 3, 80, 80, 6]", "without further steps"),
        ("yolov8", (2, 5, 8400), "[2, 5, 8400]", "[1, 4 + classes, anchors]"),
    ],
)
def test_another_form_has_its_cure(form: str, shape: tuple[int, ...], said: str, cure: str) -> None:
    finding = judge_detector(answer(*shape), profile(form))
    assert finding is not None
    assert not finding.ok
    assert said in finding.seen
    assert cure in finding.cure


@pytest.mark.parametrize("form", ["yolov5", "yolov8"])
def test_boxes_after_nms_are_known_by_the_number_of_their_class(form: str) -> None:
    chosen = np.zeros((1, 300, 6), np.float32)
    chosen[0, :2] = [[10, 10, 90, 40, 0.9, 0], [200, 10, 290, 40, 0.8, 2]]
    finding = judge_detector(chosen, profile(form))
    assert finding is not None
    assert "without NMS" in finding.cure


def test_a_class_that_is_named_is_well_and_one_that_there_is_not_is_not() -> None:
    assert judge_detector(answer(1, 84, 8400), profile(plate_class=79)) is None
    finding = judge_detector(answer(1, 84, 8400), profile(plate_class=80))
    assert finding is not None
    assert "its classes are 0 to 79" in finding.cure


def test_values_that_are_no_scores_or_no_pixels_are_said() -> None:
    logits = judge_detector(answer(1, 5, 8400, score=-3.0), profile())
    assert logits is not None
    assert "its scores run from -3 to -3" in logits.seen
    shares = answer(1, 5, 8400)
    shares[:, :4] = 0.5
    boxes = judge_detector(shares, profile())
    assert boxes is not None
    assert "no pixels" in boxes.seen
    holes = answer(1, 5, 8400)
    holes[0, 4, ::2] = np.nan
    unfinite = judge_detector(holes, profile())
    assert unfinite is not None
    assert "10% of what it gives is no finite number" in unfinite.seen


def test_an_stn_gives_what_it_takes() -> None:
    assert judge_stn(CROPS, CROPS) is None
    finding = judge_stn(CROPS[:, :, :, :90], CROPS)
    assert finding is not None
    assert "takes [2, 3, 24, 94] and gives [2, 3, 24, 90]" in finding.seen
    assert judge_stn(np.full_like(CROPS, np.inf), CROPS) is not None


@pytest.mark.parametrize(
    ("shape", "said", "cure"),
    [
        ((2, 68, 18), "68 classes, the alphabet has 22", "write the 67 characters"),
        ((2, 18, 23), "[2, 18, 23]", "permute(0, 2, 1)"),
        ((18, 2, 23), "[18, 2, 23]", "permute(1, 2, 0)"),
        ((2, 23, 24), "[2, 23, 24]", "reader.time_steps = 24"),
        ((2, 23, 6), "6 time steps, and the longest plate has 9 characters", "wider crops"),
        ((2, 23), "[2, 23]", "the crop first"),
    ],
)
def test_logits_of_another_shape_have_their_cure(
    shape: tuple[int, ...], said: str, cure: str
) -> None:
    finding = judge_reader(np.zeros(shape, np.float32), 2, reader())
    assert finding is not None
    assert said in finding.seen
    assert cure in finding.cure


def test_logits_of_the_profile_s_shape_are_well() -> None:
    given = {"file": "x.pt", "alphabet": "0123456789", "time_steps": 30}
    own = Profile.model_validate({"reader": given, "plates": {"kinds": ["DDDDDD"]}})
    assert judge_reader(np.zeros((2, 11, 30), np.float32), 2, own) is None


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("RuntimeError: view size is not compatible with input tensor's size", ".reshape"),
        ("Could not run 'aten::empty_strided' from the 'CUDA' backend. More\nCPU: x", "on the CPU"),
        ("mat1 and mat2 shapes cannot be multiplied (1x96 and 896x32)", "crop.width"),
        ("Input type (float) and bias type (c10::Half) should be the same", "float32"),
        ("something else", "by itself"),
    ],
)
def test_a_failure_has_its_cure(text: str, cure: str) -> None:
    finding = failure("stn", RuntimeError(text))
    assert not finding.ok
    assert cure in finding.cure


def test_a_fixed_input_of_a_detector_names_the_key() -> None:
    error = RuntimeError("INVALID_ARGUMENT : Got invalid dimensions for input: images")
    assert "detector.long_side" in failure("detector", error).cure
