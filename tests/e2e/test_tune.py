"""``platemill tune`` with a real Triton: it writes an overlay that the next server runs with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platemill.cli import app
from platemill.serving.bulk import BulkClient
from platemill.serving.embedded import EmbeddedTriton
from platemill.serving.repository import repository_of
from platemill.settings import load_settings

pytestmark = [pytest.mark.triton, pytest.mark.timeout(400)]


def test_what_is_fastest_is_written_and_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    asked = ["tune", "--home", str(home), "--instances", "1", "--images", "2", "--images", "3"]
    done = CliRunner().invoke(app, [*asked, "--rounds", "2", "--count", "6", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["instances"] == 1
    assert [(t["instances"], t["images"]) for t in said["trials"]] == [(1, 2), (1, 3)]
    assert all(len(t["images_per_second"]) == 2 for t in said["trials"])
    assert Path(said["overlay"]) == home / "overlay" / "plate_bulk" / "config.pbtxt"

    settings = load_settings(home=home)
    with (
        EmbeddedTriton.of(settings, repository_of(settings), tmp_path / "triton") as server,
        BulkClient(server.grpc, max_pixels=10**8) as client,
    ):
        assert client.images_a_request() == said["images"]
        log = server.log.read_text()
    assert "plate_bulk_0_0" in log
    assert "plate_bulk_0_1" not in log
