"""The four models as an ordinary tritonclient program sees them, over HTTP and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from streets import street_with

from platemill.serving.client import PlateClient
from platemill.serving.contracts import CONTRACTS, ModelContract
from platemill.serving.embedded import EmbeddedTriton
from platemill.vision.ctc import decode

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

WIRE_TYPES = {"UINT8": np.uint8, "FP32": np.float32, "STRING": np.object_}
OUTPUTS = tuple(output.name for output in CONTRACTS["plate_recognition"].outputs)
PLATES = ["A123BC77", "K904OT197", "M571EX50"]


class Plain:
    """A plain client of either protocol."""

    def __init__(self, protocol: str, server: EmbeddedTriton) -> None:
        if protocol == "http":
            import tritonclient.http as module

            self.client: Any = module.InferenceServerClient(server.http)
        else:
            import tritonclient.grpc as module

            self.client = module.InferenceServerClient(server.grpc)
        self.module: Any = module
        self.protocol = protocol

    def ask(self, model: str, array: np.ndarray, datatype: str) -> dict[str, np.ndarray]:
        given = self.module.InferInput("input__0", list(array.shape), datatype)
        given.set_data_from_numpy(array)
        answer = self.client.infer(model, [given])
        return {o.name: answer.as_numpy(o.name) for o in CONTRACTS[model].outputs}

    def recognise(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return self.ask("plate_recognition", image, "UINT8")

    def metadata(self, model: str) -> dict[str, Any]:
        if self.protocol == "http":
            return self.client.get_model_metadata(model)
        return self.client.get_model_metadata(model, as_json=True)

    def index(self) -> list[dict[str, Any]]:
        if self.protocol == "http":
            return self.client.get_model_repository_index()
        return self.client.get_model_repository_index(as_json=True)["models"]


@pytest.fixture(params=["http", "grpc"])
def plain(request: pytest.FixtureRequest, triton: EmbeddedTriton) -> Iterator[Plain]:
    client = Plain(request.param, triton)
    yield client
    client.client.close()


@pytest.fixture(scope="module")
def street() -> tuple[np.ndarray, list[tuple[float, ...]]]:
    return street_with(PLATES, seed=8)


def assert_empty(answer: dict[str, np.ndarray], model: str) -> None:
    for output in CONTRACTS[model].outputs:
        assert answer[output.name].shape == (0, *output.shape[1:])
        assert answer[output.name].dtype == WIRE_TYPES[output.datatype]


def test_the_four_models_are_ready_in_version_1_and_the_one_for_bulk(plain: Plain) -> None:
    assert plain.client.is_server_ready()
    states = sorted((m["name"], m["version"], m["state"]) for m in plain.index())
    assert states == [
        (name, "1", "READY")
        for name in ("lprnet", "plate_bulk", "plate_recognition", "stn", "yolo")
    ]


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS.keys())
def test_the_server_says_what_the_contract_says(plain: Plain, contract: ModelContract) -> None:
    told = plain.metadata(contract.name)
    batch = (-1,) if contract.max_batch_size else ()
    for side, tensors in (("inputs", contract.inputs), ("outputs", contract.outputs)):
        assert [
            (t["name"], t["datatype"], tuple(int(size) for size in t["shape"])) for t in told[side]
        ] == [
            (t.name, {"STRING": "BYTES"}.get(t.datatype, t.datatype), batch + t.shape)
            for t in tensors
        ]


@pytest.mark.parametrize("rows", [1, 3, 32])
@pytest.mark.parametrize("model", ["stn", "lprnet"])
def test_crops_become_crops_and_logits(plain: Plain, model: str, rows: int) -> None:
    crops = np.random.default_rng(rows).uniform(-1, 1, (rows, 3, 24, 94)).astype(np.float32)
    answer = plain.ask(model, crops, "FP32")["output__0"]
    assert answer.shape == (rows, *CONTRACTS[model].outputs[0].shape)
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    assert answer.std() > 0


def test_more_than_32_crops_are_refused(plain: Plain) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="batch-size must be <= 32"):
        plain.ask("stn", np.zeros((33, 3, 24, 94), np.float32), "FP32")


def test_yolo_finds_and_cuts_the_plates(
    plain: Plain, street: tuple[np.ndarray, list[tuple[float, ...]]]
) -> None:
    image, truth = street
    answer = plain.ask("yolo", image, "UINT8")
    crops, boxes, scores = (answer[f"output__{n}"] for n in range(3))
    assert crops.shape == (len(truth), 3, 24, 94)
    assert boxes.shape == (len(truth), 4)
    assert scores.shape == (len(truth), 1)
    assert all(array.dtype == np.float32 for array in (crops, boxes, scores))
    assert ((scores > 0) & (scores <= 1)).all()
    for box, seen in zip(sorted(truth), boxes[boxes[:, 0].argsort()], strict=True):
        assert np.abs(seen - np.array(box)).max() < 25


def test_a_rendered_plate_is_read_exactly(
    plain: Plain, street: tuple[np.ndarray, list[tuple[float, ...]]]
) -> None:
    image, truth = street
    answer = plain.recognise(image)
    order = answer["coordinates"][:, 0].argsort()
    assert [text.decode() for text in answer["texts"][order, 0]] == PLATES
    assert all(len(text) >= 8 for text in answer["raw_texts"][order, 0])
    assert answer["coordinates"].shape == (len(truth), 4)
    assert answer["coordinates"].dtype == np.float32
    for name in ("confidences", "detection_scores"):
        assert answer[name].shape == (len(truth), 1)
        assert ((answer[name] > 0) & (answer[name] <= 1)).all()


def test_plate_recognition_is_the_other_three_one_after_another(
    plain: Plain, street: tuple[np.ndarray, list[tuple[float, ...]]]
) -> None:
    image = street[0]
    found = plain.ask("yolo", image, "UINT8")
    straight = plain.ask("stn", found["output__0"], "FP32")["output__0"]
    readings = decode(plain.ask("lprnet", straight, "FP32")["output__0"])
    answer = plain.recognise(image)
    assert np.array_equal(answer["coordinates"], found["output__1"])
    assert np.array_equal(answer["detection_scores"], found["output__2"])
    assert [text.decode() for text in answer["texts"][:, 0]] == [r.plate for r in readings]


@pytest.mark.parametrize("model", ["yolo", "plate_recognition"])
def test_an_image_without_a_plate_gives_no_rows_and_no_error(plain: Plain, model: str) -> None:
    assert_empty(plain.ask(model, street_with([], seed=2)[0], "UINT8"), model)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 17)])
@pytest.mark.parametrize("model", ["yolo", "plate_recognition"])
def test_tiny_images_work(plain: Plain, model: str, shape: tuple[int, int]) -> None:
    assert_empty(plain.ask(model, np.full((*shape, 3), 90, np.uint8), "UINT8"), model)


def test_an_image_of_40_megapixels_works(
    plain: Plain, street: tuple[np.ndarray, list[tuple[float, ...]]]
) -> None:
    image = np.kron(street[0], np.ones((7, 7, 1), np.uint8))[:, :8000]
    assert image.shape[0] * image.shape[1] > 40_000_000
    answer = plain.recognise(np.ascontiguousarray(image))
    assert len(answer["coordinates"]) > 0
    assert answer["coordinates"][:, 2].max() > 1280, "boxes are in the sent image's pixels"


def test_an_image_of_no_pixels_is_an_error_not_an_empty_answer(plain: Plain) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="at least one pixel"):
        plain.recognise(np.zeros((0, 0, 3), np.uint8))


@pytest.mark.parametrize("slots", [0, 2], ids=["plain tensors", "shared memory"])
def test_the_bulk_client_answers_what_the_plain_one_does(
    triton: EmbeddedTriton, slots: int
) -> None:
    plain = Plain("grpc", triton)
    with PlateClient(triton.grpc, slots=slots) as client:
        # The second frame needs a larger slot, the third is not contiguous.
        street = street_with(PLATES, seed=8)[0]
        for image in (np.zeros((1, 1, 3), np.uint8), street, street[:, ::-1]):
            expected = plain.recognise(np.ascontiguousarray(image))
            reading = client(image)
            assert np.array_equal(reading.boxes, expected["coordinates"])
            assert reading.texts == [t.decode() for t in expected["texts"][:, 0]]
            assert reading.raw_texts == [t.decode() for t in expected["raw_texts"][:, 0]]
            assert np.array_equal(reading.confidences, expected["confidences"][:, 0])
            assert np.array_equal(reading.detection_scores, expected["detection_scores"][:, 0])
    plain.client.close()
