import pytest

from ray_jobs.hands import Hired


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (None, "n1"),
        ("127.0.0.1:8001", "n1"),
        ("localhost:8001", "n1"),
        ("[::1]:8001", "n1"),
        ("10.0.0.7:8001", ""),
        ("triton.internal:8001", ""),
    ],
)
def test_a_server_on_loopback_is_the_nodes_own(given: str | None, place: str) -> None:
    assert Hired(None, "w1", given, node="n1").place == place
