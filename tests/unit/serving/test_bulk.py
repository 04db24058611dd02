"""The client of many encoded images a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from platemill.errors import InferenceFailed, ServerUnavailable
from platemill.serving import bulk
from platemill.serving.bulk import BulkClient
from platemill.serving.contracts import PLATE_BULK

FILES = [b"", b"a", b"\xff\xd8" * 1000, b"last"]


class Answer:
    """Plates by the length of a file: of an empty one nothing is said."""

    def __init__(self, files: list[bytes]) -> None:
        counts = [len(file) % 3 if file else -1 for file in files]
        rows = [(n, k) for n, count in enumerate(counts) for k in range(max(count, 0))]
        texts = np.array([[b"%d-%d" % row] for row in rows], np.object_).reshape(-1, 1)
        self.outputs = {
            "plates": np.array(counts, np.int32),
            "sizes": np.array([[n, n + 1] for n in range(len(files))], np.int32),
            "coordinates": np.array([[n, k, n, k] for n, k in rows], np.float32).reshape(-1, 4),
            "texts": texts,
            "raw_texts": texts,
            "confidences": np.array([[n / 10] for n, _ in rows], np.float32).reshape(-1, 1),
            "detection_scores": np.array([[k / 10] for _, k in rows], np.float32).reshape(-1, 1),
        }

    def as_numpy(self, name: str) -> np.ndarray:
        return self.outputs[name]


class Server:
    """Stands in for tritonclient's client."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[dict[str, Any]] = []
        self.looks = 0
        self.says: dict[str, str] = {}

    def infer(self, model, inputs, client_timeout, parameters):
        assert model == PLATE_BULK.name
        if self.error is not None:
            raise self.error
        self.asked.append(parameters)
        return Answer(FILES)

    def get_inference_statistics(self, model, client_timeout):
        self.looks += 1
        seen = SimpleNamespace(
            success=SimpleNamespace(count=8 * self.looks),
            queue=SimpleNamespace(ns=10**12 * self.looks),
            compute_infer=SimpleNamespace(ns=10**9 * self.looks),
        )
        return SimpleNamespace(model_stats=[SimpleNamespace(inference_stats=seen)])

    def get_model_config(self, model, client_timeout):
        if self.error is not None:
            raise self.error
        parameters = {name: SimpleNamespace(string_value=v) for name, v in self.says.items()}
        return SimpleNamespace(config=SimpleNamespace(parameters=parameters))

    def register_system_shared_memory(self, name: str, key: str, size: int) -> None:
        pass

    def unregister_system_shared_memory(self, name: str) -> None:
        pass

    def is_model_ready(self, name: str, client_timeout: float) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.fixture
def server() -> Server:
    return Server()


def client_of(server: Server) -> BulkClient:
    client = BulkClient("127.0.0.1:1", max_pixels=1234)
    client._client.close()
    client._client = server
    return client


def test_each_image_gets_its_own_plates(server: Server) -> None:
    with client_of(server) as client:
        first, *others = client(FILES)
    assert server.asked == [{"max_pixels": 1234}]
    assert first is None
    for place, (file, seen) in enumerate(zip(FILES[1:], others, strict=True), 1):
        assert seen is not None
        count = len(file) % 3
        assert (seen.width, seen.height) == (place, place + 1)
        assert seen.reading.texts == [f"{place}-{k}" for k in range(count)]
        assert seen.reading.raw_texts == seen.reading.texts
        assert seen.reading.boxes.tolist() == [[place, k, place, k] for k in range(count)]
        assert seen.reading.confidences.tolist() == pytest.approx([place / 10] * count)
        assert seen.reading.detection_scores.tolist() == pytest.approx(
            [k / 10 for k in range(count)]
        )


def test_bytes_lie_in_memory_as_the_protocol_says() -> None:
    expected = serialize_byte_tensor(np.array(FILES, np.object_)).item()
    assert bulk._as_tensor(FILES) == expected


def test_the_bound_follows_what_the_server_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_LOOK_SECONDS", 0.0)
    with client_of(server) as client:
        before = client.requests
        for _ in range(20):
            client(FILES)
        assert client.requests < before
    assert server.looks > 1


def test_errors_are_those_of_the_other_client(server: Server) -> None:
    with client_of(server) as client:
        server.error = InferenceServerException("gone", status="StatusCode.UNAVAILABLE")
        with pytest.raises(ServerUnavailable, match="gone"):
            client(FILES)
        server.error = InferenceServerException("bad", status="StatusCode.INTERNAL")
        with pytest.raises(InferenceFailed, match="plate_bulk failed on 4 images: bad"):
            client(FILES)
        server.error = None
        assert len(client(FILES)) == len(FILES)


def test_the_model_s_config_says_how_many_images_a_request_has(server: Server) -> None:
    with client_of(server) as client:
        assert client.images_a_request() == 8
        server.says = {"IMAGES_A_REQUEST": "16"}
        assert client.images_a_request() == 16
        server.error = InferenceServerException("gone", status="StatusCode.UNAVAILABLE")
        with pytest.raises(ServerUnavailable, match="gone"):
            client.images_a_request()
