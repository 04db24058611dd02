"""Letterboxing and the choice of boxes."""

import numpy as np
import pytest

from platemill.vision import detector
from platemill.vision.profile import DetectorProfile

LOW = DetectorProfile(long_side=640, score_threshold=0.5, iou_threshold=0.5)
YOLOV8 = DetectorProfile(file="x.onnx", output="yolov8")
YOLOV5 = DetectorProfile(file="x.pt", output="yolov5")


def chosen(candidates: np.ndarray, box: detector.Letterbox) -> tuple[np.ndarray, np.ndarray]:
    plates = detector.select(candidates, box, LOW)
    return plates.boxes, plates.scores


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1, 1, (32, 32)),
        (640, 480, (640, 480)),
        (1280, 720, (640, 384)),
        (720, 1280, (384, 640)),
        (7000, 6000, (640, 576)),
        (5000, 1, (640, 32)),
        (320, 200, (320, 224)),
    ],
)
def test_inputs_are_multiples_of_32_and_never_enlarged(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    tensor, box = detector.prepare(np.zeros((height, width, 3), np.uint8), LOW)
    assert tensor.shape == (1, 3, expected[1], expected[0])
    assert tensor.dtype == np.float32
    assert tensor[0].transpose(1, 2, 0).flags.c_contiguous, "channels last"
    assert box.scale_x <= 1.0
    assert box.scale_y <= 1.0 or height == 1


def test_colours_become_rgb_between_zero_and_one() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (255, 51, 0)
    tensor, _ = detector.prepare(image)
    np.testing.assert_allclose(tensor[0, :, 5, 5], [0.0, 0.2, 1.0], atol=1e-6)


@pytest.mark.parametrize("width", [1280, 1920, 3001, 4000])
def test_a_large_image_is_shrunk_evenly_and_stays_in_its_place(width: int) -> None:
    height = width // 2
    image = np.full((height, width, 3), 90, np.uint8)
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 190
    image[::2, ::2] += 60  # a pattern too fine for the network
    image[1::2, 1::2] += 60
    tensor, _ = detector.prepare(image, LOW)
    seen = tensor[0, 0, : 640 // 2] * 255
    assert np.abs(seen[10:70, 10:630] - 120).mean() < 1, "no moire"
    assert np.abs(seen[90:150, 330:470] - 220).mean() < 1
    edges = np.abs(np.diff(seen[100:150].mean(axis=0)))
    assert abs(int(edges[:400].argmax()) - 319) <= 1
    assert abs(400 + int(edges[400:].argmax()) - 479) <= 1


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detector.prepare(np.zeros(shape, np.uint8))


def test_a_plain_float_image_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        detector.prepare(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_boxes_come_back_in_pixels_of_the_image() -> None:
    box = detector.fit(1280, 720, LOW)
    candidates = np.array([[[100, 50, 200, 80, 0.9]]], np.float32)[0]
    boxes, scores = chosen(candidates, box)
    np.testing.assert_allclose(boxes, [[200, 100, 400, 160]])
    np.testing.assert_allclose(scores, [0.9])
    assert boxes.dtype == scores.dtype == np.float32


def test_boxes_are_clipped_to_the_image() -> None:
    box = detector.fit(640, 360, LOW)
    candidates = np.array([[-20, -5, 700, 380, 0.9], [650, 10, 700, 20, 0.8]], np.float32)
    boxes, _ = chosen(candidates, box)
    np.testing.assert_allclose(boxes, [[0, 0, 640, 360]])


def test_weaker_overlapping_candidates_are_dropped() -> None:
    box = detector.fit(640, 480, LOW)
    candidates = np.array(
        [[10, 10, 110, 40, 0.6], [12, 10, 112, 40, 0.9], [300, 10, 400, 40, 0.7]], np.float32
    )
    boxes, scores = chosen(candidates, box)
    np.testing.assert_allclose(scores, [0.9, 0.7])
    np.testing.assert_allclose(boxes[:, 0], [12, 300])


def test_equal_scores_go_by_position_whatever_their_order() -> None:
    box = detector.fit(640, 480, LOW)
    candidates = np.array(
        [[300, 10, 400, 40, 0.7], [10, 200, 90, 220, 0.7], [10, 10, 110, 40, 0.7]], np.float32
    )
    forwards, _ = chosen(candidates, box)
    backwards, _ = chosen(candidates[::-1], box)
    np.testing.assert_array_equal(forwards, backwards)
    np.testing.assert_array_equal(forwards[:, 0], [10, 300, 10])


@pytest.mark.parametrize("rows", [0, 3])
def test_no_plate_gives_empty_arrays(rows: int) -> None:
    candidates = np.zeros((rows, 5), np.float32)
    boxes, scores = chosen(candidates, detector.fit(64, 64, LOW))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_candidates_that_are_not_finite_are_dropped() -> None:
    candidates = np.full((2, 5), np.nan, np.float32)
    candidates[1] = [0, 0, np.inf, 5, 0.9]
    boxes, _ = chosen(candidates, detector.fit(64, 64, LOW))
    assert boxes.shape == (0, 4)


def test_corners_and_lines_come_with_the_boxes() -> None:
    corners = [100, 52, 200, 50, 199, 80, 101, 82]
    candidates = np.array([[100, 50, 200, 82, 0.9, *corners, 0.8]], np.float32)
    plates = detector.select(candidates, detector.fit(1280, 720, LOW), LOW)
    np.testing.assert_allclose(plates.corners[0].ravel(), np.array(corners) * 2)
    assert plates.two_lines.tolist() == [True]


@pytest.mark.parametrize(
    "corners",
    [[0] * 8, [200, 50, 100, 52, 101, 82, 199, 80], [100, 50, 110, 50, 110, 55, 100, 55]],
    ids=["a point", "turning left", "a small part"],
)
def test_corners_that_are_no_face_give_way_to_the_box(corners: list[float]) -> None:
    candidates = np.array([[100, 50, 200, 82, 0.9, *corners, 0.1]], np.float32)
    plates = detector.select(candidates, detector.fit(640, 360, LOW), LOW)
    assert plates.corners.tolist() == detector.corners_of(plates.boxes).tolist()


def test_a_yolo_s_input_is_a_square_with_the_image_in_the_middle() -> None:
    image = np.full((90, 320, 3), 255, np.uint8)
    tensor, box = detector.prepare(image, YOLOV8)
    assert tensor.shape == (1, 3, 640, 640)
    assert (box.left, box.top, box.content_width, box.content_height) == (0, 230, 640, 180)
    assert (tensor[:, :, 230:410] == 1).all()
    np.testing.assert_allclose(tensor[:, :, :230], 114 / 255)
    np.testing.assert_allclose(tensor[:, :, 410:], 114 / 255)
    points = np.array([[0, 230], [640, 410]], np.float32)
    np.testing.assert_allclose(box.to_image(points), [[0, 0], [320, 90]])


def test_colours_and_values_are_the_profile_s() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (255, 51, 0)
    profile = DetectorProfile(
        file="x.onnx", output="yolov8", long_side=64, colour="BGR", white=255, padding=7
    )
    tensor, _ = detector.prepare(image[:16], profile)
    np.testing.assert_allclose(tensor[0, :, 32, 5], [255, 51, 0], atol=1e-4)
    np.testing.assert_allclose(tensor[0, :, 0, 0], 7, atol=1e-6)


def yolov8_answer(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).T


def test_the_three_forms_say_the_same_box() -> None:
    box = detector.fit(640, 640, YOLOV8)
    platemill = np.array([[90, 80, 110, 120, 0.6]], np.float32)
    answers = [
        detector.select(platemill, box, LOW),
        detector.select(yolov8_answer([100, 100, 20, 40, 0.6]), box, YOLOV8),
        detector.select(np.array([[100, 100, 20, 40, 0.75, 0.8]], np.float32), box, YOLOV5),
    ]
    for plates in answers:
        np.testing.assert_allclose(plates.boxes, [[90, 80, 110, 120]])
        np.testing.assert_allclose(plates.scores, [0.6], rtol=1e-6)
        assert plates.corners.tolist() == detector.corners_of(plates.boxes).tolist()
        assert not plates.two_lines.any()


def test_boxes_of_a_yolo_come_back_from_the_middle_of_its_input() -> None:
    box = detector.fit(1280, 320, YOLOV8)
    plates = detector.select(yolov8_answer([320, 320, 64, 16, 0.9]), box, YOLOV8)
    np.testing.assert_allclose(plates.boxes, [[576, 144, 704, 176]])


def test_one_of_several_classes_is_the_plate() -> None:
    box = detector.fit(640, 640, YOLOV8)
    rows = yolov8_answer([100, 100, 20, 40, 0.9, 0.0, 0.1], [300, 300, 20, 40, 0.0, 0.0, 0.8])
    profile = DetectorProfile(file="x.onnx", output="yolov8", plate_class=2)
    np.testing.assert_allclose(detector.select(rows, box, profile).boxes[:, 0], [290])
    five = np.array([[100, 100, 20, 40, 1.0, 0.9, 0.1], [300, 300, 20, 40, 1, 0, 0.8]], np.float32)
    profile = DetectorProfile(file="x.onnx", output="yolov5", plate_class=1)
    np.testing.assert_allclose(detector.select(five, box, profile).boxes[:, 0], [290])


@pytest.mark.parametrize(
    ("profile", "shape"),
    [(LOW, (3, 4)), (LOW, (5,)), (YOLOV8, (4, 9)), (YOLOV5, (9, 5)), (YOLOV8, (84, 9))],
)
def test_answers_of_another_form_are_refused(
    profile: DetectorProfile, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"gave|classes"):
        detector.candidates_of(np.zeros(shape, np.float32), profile)
