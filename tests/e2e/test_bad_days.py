"""Bad days of a night: a cluster nobody answers for, a Triton that is never ready, a long sleep."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from fake_models import write_fake_models
from marked_command import MarkedCommand, error_of
from planned_night import RUN, plan_all, recognise
from small_server import SmallServer

from platemill.errors import ServerUnavailable
from platemill.journal import read_journal
from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.settings import load_settings
from platemill.warehouse.query import run_sql

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
IMAGES = 8
# How long a run is believed in without a sign of life.
LEASE = 3.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    place = folder / "cam" / "2026" / "05" / "01"
    place.mkdir(parents=True)
    random = np.random.default_rng(5)
    for number in range(IMAGES):
        image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        assert cv2.imwrite(str(place / f"{number:06d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with PrivateCluster(tmp_path_factory.mktemp("ray"), 180, cwd=PROJECT) as private:
        yield private


def test_a_cluster_address_where_nobody_listens(archive: Path, tmp_path: Path) -> None:
    address = "http://127.0.0.1:9"
    asked = ("run", "--home", tmp_path / "home", "--archive", archive)
    ended = MarkedCommand(*asked, variables={"PLATEMILL_RAY_ADDRESS": address}).end()
    code, error = error_of(ended)
    assert code == 4
    assert error.startswith(f"ServerUnavailable: the Ray Jobs API at {address} does not answer: ")
    assert "are PLATEMILL_RAY_ADDRESS and its token (RAY_AUTH_TOKEN) right? Then run aga" in error
    assert "recognise failed (ServerUnavailable: the Ray Jobs API" in ended[1]
    assert "attempt 4 of 4" in ended[1]


BROKEN = {
    "hangs": "import time; time.sleep(600)",
    "fails": "raise RuntimeError('CUDA error: out of memory')",
    "dies": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
}


@pytest.mark.triton
@pytest.mark.parametrize("trouble", BROKEN)
def test_a_triton_that_is_never_ready(
    trouble: str, cluster: PrivateCluster, archive: Path, tmp_path: Path
) -> None:
    models = write_fake_models(tmp_path / "models")
    code = models / "plate_recognition" / "1" / "model.py"
    code.write_text(f"{BROKEN[trouble]}\n{code.read_text()}")
    settings = load_settings(
        home=tmp_path / "home",
        project=PROJECT,
        triton_models=models,
        triton_start_seconds=4 if trouble == "hangs" else 60,
    )
    plan = plan_all(settings, archive)
    with pytest.raises(ServerUnavailable) as raised:
        recognise(cluster, settings)
    error = str(raised.value)
    assert raised.value.exit_code == 4
    if trouble == "hangs":
        assert error.startswith("Triton was not ready after 4 s (waiting for plate_recognition); ")
        assert "PLATEMILL_TRITON_START_SECONDS gives it longer" in error
    else:
        assert error.startswith("Triton ended before it was ready (waiting for ")
        assert {
            "fails": "RuntimeError: CUDA error: out of memory",
            "dies": "the server ended by signal 9",
        }[trouble] in error
    assert f"Its log, {settings.runs / RUN}/triton-" in error
    assert "Look at it alone with `platemill doctor` and `platemill triton up`, then run" in error
    assert error.endswith("what was recognised is kept")
    assert [open_lake(settings).shard(shard.key) for shard in plan.shards] == [None]
    served = [p for p in psutil.process_iter() if str(models) in " ".join(_words(p))]
    assert served == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_machine_that_sleeps_while_a_night_runs(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with SmallServer(seconds=1.0) as server:
        variables = {
            "PLATEMILL_TRITON_ADDRESS": server.address,
            "PLATEMILL_LEASE_SECONDS": str(LEASE),
            "PLATEMILL_IMAGES_IN_FLIGHT": "1",
        }
        night = MarkedCommand("run", "--home", home, "--archive", archive, variables=variables)
        try:
            while not server.images:
                assert night.process.poll() is None
                time.sleep(0.1)
            family = night.family()
            for process in family:
                process.suspend()
            # Longer than anybody would believe in its life who saw it from another machine.
            time.sleep(3 * LEASE)
            for process in family:
                process.resume()
        finally:
            code, _ = night.end()
    assert len(family) > 5
    assert code == 0
    settings = load_settings(home=home)
    assert run_sql(settings, "SELECT count(*) AS n FROM images").to_pylist() == [{"n": IMAGES}]
    (run,) = [path for path in settings.runs.iterdir() if (path / "request.json").exists()]
    assert json.loads((run / "summary.json").read_text())["generation"] == 1
    failed = [e for e in read_journal(run) if e["event"] in ("stage_failed", "shard_failed")]
    assert failed == []
