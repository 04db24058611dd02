"""The client's errors and its fallback, against a server of its own making."""

import os
import threading

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from platemill.errors import InferenceFailed, ServerHangs, ServerUnavailable
from platemill.serving import frames
from platemill.serving.client import PlateClient
from platemill.serving.embedded import free_ports

IMAGE = np.zeros((20, 30, 3), np.uint8)


class Answer:
    def as_numpy(self, name: str) -> np.ndarray:
        return {
            "coordinates": np.array([[1, 2, 3, 4]], np.float32),
            "texts": np.array([[b"A123BC77"]], np.object_),
            "raw_texts": np.array([[b"A123BC777"]], np.object_),
            "confidences": np.array([[0.9]], np.float32),
            "detection_scores": np.array([[0.8]], np.float32),
        }[name]


class Server:
    """Stands in for tritonclient's client: answers, or raises what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.unready: str | None = None
        self.refuses_regions = False
        self.forgets_regions = False
        self.regions: dict[str, int] = {}
        self.shared = 0
        self.plain = 0

    def infer(self, model, inputs, client_timeout):
        if self.error is not None:
            raise self.error
        by_region = "shared_memory_region" in inputs[0]._get_tensor().parameters
        if by_region and self.forgets_regions:
            message = "Unable to find shared memory region: 'x'"
            raise InferenceServerException(message, status="StatusCode.INVALID_ARGUMENT")
        self.shared += by_region
        self.plain += not by_region
        return Answer()

    def register_system_shared_memory(self, name: str, key: str, size: int) -> None:
        if self.refuses_regions:
            raise InferenceServerException("no", status="StatusCode.INVALID_ARGUMENT")
        self.regions[name] = size

    def unregister_system_shared_memory(self, name: str) -> None:
        del self.regions[name]

    def is_model_ready(self, name: str, client_timeout: float) -> bool:
        return name != self.unready

    def close(self) -> None:
        pass


@pytest.fixture
def server() -> Server:
    return Server()


def client_of(server: Server, slots: int = 2) -> PlateClient:
    client = PlateClient("127.0.0.1:1", slots=slots)
    client._client.close()
    client._client = server
    return client


def test_an_answer_becomes_a_reading(server: Server) -> None:
    with client_of(server) as client:
        reading = client(IMAGE)
    assert reading.boxes.tolist() == [[1, 2, 3, 4]]
    assert reading.texts == ["A123BC77"]
    assert reading.raw_texts == ["A123BC777"]
    assert reading.confidences.shape == (1,)
    assert reading.detection_scores.shape == (1,)
    assert len(reading) == 1


def test_frames_go_through_one_region_that_grows_and_is_given_back(server: Server) -> None:
    with client_of(server) as client:
        client(IMAGE)
        client(IMAGE)
        assert list(server.regions.values()) == [1 << 20]
        client(np.zeros((1000, 1000, 3), np.uint8))
        assert list(server.regions.values()) == [3 << 20]
    assert server.shared == 3
    assert server.regions == {}


def test_a_region_has_no_name_left_in_shared_memory(server: Server) -> None:
    with client_of(server) as client:
        client(IMAGE)
        (name,) = server.regions
        assert not (frames.SHM / name).exists()


@pytest.mark.parametrize("slots", [0, 2])
def test_a_server_elsewhere_gets_plain_tensors(
    server: Server, slots: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuses_regions = True
    with client_of(server, slots) as client:
        client(IMAGE)
        client(IMAGE)
    assert (server.shared, server.plain) == (0, 2)
    assert len(caplog.records) == (1 if slots else 0), "said once, not for every frame"


def test_full_shared_memory_falls_back_to_plain_tensors(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with client_of(server) as client:
        assert client(IMAGE).texts == ["A123BC77"]
    assert server.plain == 1
    assert "No space left on device" in caplog.text
    assert not list(frames.SHM.glob(f"platemill-frames-{os.getpid()}-*"))


def test_a_huge_frame_goes_as_a_plain_tensor(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platemill.serving.client.LARGEST_BYTES", IMAGE.nbytes - 1)
    with client_of(server) as client:
        client(IMAGE)
    assert (server.shared, server.plain) == (0, 1)


def test_a_restarted_server_that_forgot_the_region_is_asked_again(server: Server) -> None:
    with client_of(server) as client:
        client(IMAGE)
        server.forgets_regions = True
        assert client(IMAGE).texts == ["A123BC77"]
    assert server.plain == 1


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_a_server_that_does_not_answer_is_unavailable(server: Server, status: str) -> None:
    server.error = InferenceServerException("gone", status=f"StatusCode.{status}")
    with client_of(server) as client, pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1"):
        client(IMAGE)


def test_a_request_without_an_answer_is_told_from_a_server_that_is_gone(server: Server) -> None:
    server.error = InferenceServerException("late", status="StatusCode.DEADLINE_EXCEEDED")
    with client_of(server) as client, pytest.raises(ServerHangs, match=r"no answer in 120 s"):
        client(IMAGE)
    server.error = InferenceServerException("gone", status="StatusCode.UNAVAILABLE")
    with client_of(server) as client, pytest.raises(ServerUnavailable) as caught:
        client(IMAGE)
    assert not isinstance(caught.value, ServerHangs)


def test_a_model_whose_process_is_gone_is_not_the_image_s_fault(server: Server) -> None:
    message = "yolo: Stub process 'yolo_0' is not healthy."
    server.error = InferenceServerException(message, status="StatusCode.INTERNAL")
    with client_of(server) as client, pytest.raises(ServerUnavailable, match="not healthy"):
        client(IMAGE)


def test_an_error_of_a_model_is_one_image_s_failure(server: Server) -> None:
    server.error = InferenceServerException("yolo: no", status="StatusCode.INTERNAL")
    with client_of(server) as client, pytest.raises(InferenceFailed, match=r"\[20, 30, 3\].*yolo"):
        client(IMAGE)


@pytest.mark.parametrize("model", ["plate_recognition", "yolo", "stn", "lprnet"])
def test_a_server_that_is_ending_is_not_the_image_s_fault(server: Server, model: str) -> None:
    message = f"Request for unknown model: '{model}' has no available versions"
    server.error = InferenceServerException(message, status="StatusCode.NOT_FOUND")
    server.unready = model
    with client_of(server) as client, pytest.raises(ServerUnavailable, match="no available"):
        client(IMAGE)


def test_slots_survive_errors(server: Server) -> None:
    with client_of(server, slots=1) as client:
        server.error = InferenceServerException("yolo: no", status="StatusCode.INTERNAL")
        for _ in range(3):
            with pytest.raises(InferenceFailed):
                client(IMAGE)
        server.error = None
        caller = threading.Thread(target=client, args=(IMAGE,), daemon=True)
        caller.start()
        caller.join(10)
        assert not caller.is_alive(), "the only slot was lost"


def test_nobody_at_the_address_is_unavailable() -> None:
    (port,) = free_ports(1)
    with (
        PlateClient(f"127.0.0.1:{port}", slots=1) as client,
        pytest.raises(ServerUnavailable, match="does not answer"),
    ):
        client(IMAGE)
