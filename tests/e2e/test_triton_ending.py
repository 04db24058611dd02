"""A server that is told to stop blames no image: each has its answer or is asked again later."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from platemill.errors import ServerUnavailable
from platemill.serving.client import PlateClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.settings import Settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(240)]

THREADS = 6


def test_no_image_fails_while_a_server_ends(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    outcomes: list[str] = []
    image = np.full((360, 640, 3), 90, np.uint8)

    def ask(client: PlateClient) -> None:
        while True:
            try:
                client(image)
                outcomes.append("answered")
            except ServerUnavailable:
                outcomes.append("unavailable")
                return
            except Exception as error:
                outcomes.append(repr(error))
                return

    server = EmbeddedTriton(settings.models, settings.triton_interpreter, tmp_path / "triton", 180)
    with server, PlateClient(server.grpc, slots=THREADS) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while len(outcomes) < 3 * THREADS and all(thread.is_alive() for thread in threads):
            threads[0].join(0.05)
        server.stop()
        for thread in threads:
            thread.join(30)
    assert outcomes.count("unavailable") == THREADS, set(outcomes)
    assert set(outcomes) == {"answered", "unavailable"}
