from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numbered_images import NOW, image_of, read_number
from photo_files import encoded, inventory_of, png_bomb, put, tar_bytes, with_exif
from small_recogniser import Reading

from platemill.archive.decode import decode_image
from platemill.archive.reader import ArchiveReader
from platemill.errors import ImageRejected, InferenceFailed, ServerUnavailable
from platemill.recognize.plan import PlannedImage, make_plan
from platemill.recognize.poison import Verdict
from platemill.recognize.recogniser import INFERENCE_ATTEMPTS, recognise
from platemill.recognize.results import ImageResult, Plate
from platemill.schema import IMAGES, RECOGNITIONS, ImageStatus, Stage


def reading(count: int = 1, **changes: object) -> Reading:
    values: dict[str, object] = {
        "boxes": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
        "texts": [f"A00{n}AA77" for n in range(count)],
        "raw_texts": [f"A00{n}AA777" for n in range(count)],
        "confidences": np.linspace(0.5, 1, count, dtype=np.float32),
        "detection_scores": np.full(count, 0.75, np.float32),
        **changes,
    }
    return Reading(**values)  # type: ignore[arg-type]


@dataclass
class Model:
    """Answers as told, in turn; the last answer stays."""

    answers: list[Reading | Exception] = field(default_factory=lambda: [reading()])
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, image: np.ndarray) -> Reading:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        with self.lock:
            answer = self.answers[min(self.calls, len(self.answers) - 1)]
            self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def decode_number(data: bytes) -> np.ndarray:
    return np.full((2, 3, 3), int(data) % 256, np.uint8)


def run(
    images: Iterable[PlannedImage],
    model: object = None,
    read: object = read_number,
    decode: object = decode_number,
    in_flight: int = 4,
    **given: object,
) -> Iterator[ImageResult]:
    return recognise(
        images,
        read,  # type: ignore[arg-type]
        decode,  # type: ignore[arg-type]
        model or Model(),  # type: ignore[arg-type]
        in_flight=in_flight,
        run_id="r1",
        pipeline_version="p1",
        now=lambda: NOW,
        **given,  # type: ignore[arg-type]
    )


def test_the_rows_of_an_image_with_plates() -> None:
    (result,) = run([image_of(1)], Model([reading(2)]))
    assert result.status is ImageStatus.RECOGNISED
    row = result.image_row()
    assert list(row) == IMAGES.arrow.names
    assert row == {
        "uri": "file:///1.jpg",
        "image_id": image_of(1).image_id,
        "camera_id": "c",
        "captured_at": NOW,
        "day": date(2026, 3, 2),
        "byte_size": 1,
        "width": 3,
        "height": 2,
        "status": "recognised",
        "reason": None,
        "detail": None,
        "stage": None,
        "attempts": 1,
        "plates": 2,
        "time_source": "layout",
        "modified_at": NOW,
        "pipeline_version": "p1",
        "run_id": "r1",
        "processed_at": NOW,
        "deleted_at": None,
    }
    plates = result.recognition_rows()
    assert [list(p) for p in plates] == [RECOGNITIONS.arrow.names] * 2
    assert plates[1] == {
        "uri": "file:///1.jpg",
        "image_id": image_of(1).image_id,
        "plate_index": 1,
        "plate": "A001AA77",
        "raw_text": "A001AA777",
        "confidence": 1.0,
        "detection_score": 0.75,
        "xmin": 4.0,
        "ymin": 5.0,
        "xmax": 6.0,
        "ymax": 7.0,
        "camera_id": "c",
        "captured_at": NOW,
        "day": date(2026, 3, 2),
        "pipeline_version": "p1",
        "processed_at": NOW,
    }


def test_no_plate_is_a_status_of_its_own() -> None:
    (result,) = run([image_of(1)], Model([reading(0)]))
    assert (result.status, result.reason, result.plates) == (ImageStatus.NO_PLATE, None, ())
    assert (result.width, result.height) == (3, 2)
    assert result.recognition_rows() == []


def test_a_plate_without_a_text_is_still_a_plate() -> None:
    (result,) = run([image_of(1)], Model([reading(1, texts=[""])]))
    assert result.status is ImageStatus.RECOGNISED
    assert result.plates[0].plate == ""


def test_results_keep_their_order_though_images_overtake() -> None:
    def model(image: np.ndarray) -> Reading:
        time.sleep(0.02 if image[0, 0, 0] % 3 == 0 else 0)
        return reading(int(image[0, 0, 0]) % 2)

    results = list(run(map(image_of, range(40)), model, in_flight=5))
    assert [r.image.uri for r in results] == [f"file:///{n}.jpg" for n in range(40)]
    assert [len(r.plates) for r in results] == [n % 2 for n in range(40)]


def test_images_in_flight_are_bounded_and_used() -> None:
    lock = threading.Lock()
    inside = most = asked = 0
    together = threading.Barrier(4)

    def images() -> Iterator[PlannedImage]:
        nonlocal asked
        for n in range(40):
            asked += 1
            yield image_of(n)

    def model(image: np.ndarray) -> Reading:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if image[0, 0, 0] < 4:
            together.wait(10)
        with lock:
            inside -= 1
        return reading(0)

    taken = 0
    for _ in run(images(), model, in_flight=4):
        taken += 1
        assert asked - taken < 4
    assert taken == 40
    assert most == 4


def test_every_rejection_is_a_quarantined_row() -> None:
    def read(uri: str, offset: int | None, byte_size: int) -> bytes:
        if uri == "file:///1.jpg":
            raise ImageRejected("vanished", "1 is not there any more")
        return read_number(uri, offset, byte_size)

    def decode(data: bytes) -> np.ndarray:
        if data == b"2":
            raise ImageRejected("truncated", "half of it")
        return decode_number(data)

    model = Model()
    images = [
        image_of(0),
        image_of(1),
        image_of(2),
        image_of(3, image_id="0" * 32),
        image_of(4, rejected_reason="zero_bytes", rejected_detail="the file is empty"),
        image_of(5),
    ]
    results = list(run(images, model, read, decode))
    assert [(r.status, r.reason, r.stage) for r in results] == [
        (ImageStatus.RECOGNISED, None, None),
        (ImageStatus.QUARANTINED, "vanished", Stage.READ),
        (ImageStatus.QUARANTINED, "truncated", Stage.DECODE),
        (ImageStatus.QUARANTINED, "changed", Stage.READ),
        (ImageStatus.QUARANTINED, "zero_bytes", Stage.INVENTORY),
        (ImageStatus.RECOGNISED, None, None),
    ]
    assert [r.image_row()["attempts"] for r in results] == [1] * 6
    assert all(r.detail for r in results if r.reason)
    assert all(r.recognition_rows() == [] for r in results if r.reason)
    assert all(r.width is None for r in results if r.reason)
    assert model.calls == 2


def test_an_inference_that_fails_once_is_tried_again() -> None:
    model = Model([InferenceFailed("first"), reading(1)])
    (result,) = run([image_of(1)], model)
    assert result.status is ImageStatus.RECOGNISED
    assert model.calls == 2
    row = result.image_row()
    assert (row["stage"], row["attempts"]) == (None, 2)


def test_an_inference_that_keeps_failing_is_quarantined_and_the_rest_goes_on() -> None:
    def model(image: np.ndarray) -> Reading:
        if image[0, 0, 0] == 2:
            calls.append(1)
            raise InferenceFailed("the stub fell over")
        return reading(1)

    calls: list[int] = []
    results = list(run(map(image_of, range(5)), model))
    assert [r.reason for r in results] == [None, None, "inference_failed", None, None]
    assert len(calls) == INFERENCE_ATTEMPTS
    assert "the stub fell over" in (results[2].detail or "")
    assert (results[2].width, results[2].height) == (3, 2)
    row = results[2].image_row()
    assert (row["stage"], row["attempts"]) == ("infer", INFERENCE_ATTEMPTS)


def test_tries_of_earlier_runs_are_counted_on() -> None:
    def decode(data: bytes) -> np.ndarray:
        raise ImageRejected("truncated", "half of it")

    (result,) = run([image_of(1, attempts=4)], decode=decode)
    assert result.image_row()["attempts"] == 5


def test_poison_is_not_touched_and_says_where_it_killed() -> None:
    def read(uri: str, offset: int | None, byte_size: int) -> bytes:
        assert uri != "file:///1.jpg"
        return read_number(uri, offset, byte_size)

    verdict = Verdict(Stage.INFER, "Triton died twice", 2)
    poison = {"file:///1.jpg": verdict}
    results = list(run(map(image_of, range(3)), read=read, in_flight=2, poison=poison))
    assert [r.reason for r in results] == [None, "poison", None]
    row = results[1].image_row()
    assert (row["stage"], row["attempts"], row["detail"]) == ("infer", 2, "Triton died twice")
    assert results[1].recognition_rows() == []


def test_the_way_of_an_image_is_told_stage_by_stage() -> None:
    told: list[tuple[str, Stage]] = []

    def enter(image: PlannedImage, stage: Stage) -> None:
        told.append((image.uri, stage))

    images = [image_of(1), image_of(2, rejected_reason="zero_bytes")]
    list(run(images, in_flight=1, enter=enter))
    assert told == [("file:///1.jpg", stage) for stage in (Stage.READ, Stage.DECODE, Stage.INFER)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"texts": ["A000AA77", "B000BB77"]},
        {"raw_texts": []},
        {"boxes": np.zeros((1, 5), np.float32)},
        {"boxes": np.zeros((2, 4), np.float32)},
        {"boxes": np.full((1, 4), np.nan, np.float32)},
        {"boxes": np.full((1, 4), np.inf, np.float32)},
        {"confidences": np.zeros((1, 1), np.float32)},
        {"confidences": np.array([np.nan], np.float32)},
        {"detection_scores": np.array([1.5], np.float32)},
        {"detection_scores": np.array([-0.5], np.float32)},
    ],
)
def test_a_reading_that_makes_no_sense_is_a_failure(wrong: dict[str, object]) -> None:
    (result,) = run([image_of(1)], Model([reading(1, **wrong)]))
    assert (result.status, result.reason) == (ImageStatus.QUARANTINED, "inference_failed")


def test_rounding_beyond_one_is_one() -> None:
    (result,) = run([image_of(1)], Model([reading(1, confidences=np.array([1.0001], np.float32))]))
    assert result.plates[0].confidence == 1.0


@pytest.mark.parametrize("error", [ServerUnavailable("Triton is gone"), TypeError("a bug")])
def test_no_image_is_blamed_for_the_server_or_for_us(error: Exception) -> None:
    def model(image: np.ndarray) -> Reading:
        if image[0, 0, 0] == 7:
            raise error
        return reading(0)

    before = threading.active_count()
    results = run(map(image_of, range(50)), model, in_flight=3)
    with pytest.raises(type(error), match=str(error)):
        list(results)
    assert threading.active_count() == before


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    results = run(map(image_of, range(50)))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_no_images() -> None:
    assert list(run([])) == []


def test_from_an_archive_to_rows(tmp_path: Path) -> None:
    photo = with_exif(orientation=6, taken="2026:03:01 07:05:09")
    put(tmp_path / "turned.jpg", photo)
    put(tmp_path / "half.jpg", encoded()[:500])
    put(tmp_path / "text.jpg", b"text")
    put(tmp_path / "bomb.png", png_bomb())
    put(tmp_path / "empty.jpg", b"")
    gone = put(tmp_path / "gone.jpg", encoded(seed=3))
    other = put(tmp_path / "other.jpg", b"x" * 900)
    put(tmp_path / "in.tar", tar_bytes({"a/in.jpg": encoded(seed=4), "../out.jpg": encoded()}))
    inventory = inventory_of(tmp_path)
    done = inventory.table.select(["uri", "image_id", "camera_id", "captured_at"]).slice(0, 0)
    done = done.append_column("reason", inventory.table["rejected_reason"].slice(0, 0))
    plan = make_plan(inventory.table, done, "p1", 100)
    gone.unlink()
    put(other, b"y" * 900)
    with ArchiveReader() as reader:
        results = [
            result
            for shard in plan.shards
            for result in run(
                plan.images(shard.key),
                Model([reading(1)]),
                reader.read,
                lambda data: decode_image(data, 10**6),
            )
        ]
    told = {r.image.uri.split("::")[0].rsplit("/", 1)[-1]: (r.reason, r.width) for r in results}
    assert told == {
        "turned.jpg": (None, 48),
        "in.jpg": (None, 64),
        "half.jpg": ("truncated", None),
        "text.jpg": ("not_an_image", None),
        "bomb.png": ("too_many_pixels", None),
        "empty.jpg": ("zero_bytes", None),
        "gone.jpg": ("vanished", None),
        "other.jpg": ("changed", None),
        "out.jpg": ("unsafe_path", None),
    }
    assert len(results) == inventory.seen


def test_a_result_can_be_carried_between_processes() -> None:
    import pickle

    (result,) = run([image_of(1)])
    assert pickle.loads(pickle.dumps(result)) == result
    assert isinstance(result.plates[0], Plate)
