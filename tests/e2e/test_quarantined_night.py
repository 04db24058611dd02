"""A night that loses too much stops; what a person does then; and quarantine, tried again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from deadly_models import ENDS_THE_MODEL, write_deadly_models
from fake_models import write_fake_models

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

GOOD, BROKEN, POISON = 12, 4, 1


class Deployment:
    """A home and its archive, over a fake model that dies of one image until it is mended."""

    def __init__(self, root: Path) -> None:
        self.home, self.archive, self.models = root / "home", root / "archive", root / "models"
        self.day = self.archive / "cam" / "2026" / "05" / "01"
        self.day.mkdir(parents=True)
        random = np.random.default_rng(2)
        for number in range(GOOD + BROKEN):
            image = random.integers(0, 200, (24, 32, 3), dtype=np.uint8)
            # One plate in each.
            image[0, 0, 0] = 1
            assert cv2.imwrite(str(self.photo(number)), image)
        self.whole = {number: self.photo(number).read_bytes() for number in range(BROKEN)}
        for number, data in self.whole.items():
            self.photo(number).write_bytes(data[:60])
        poison = np.full((24, 32, 3), ENDS_THE_MODEL, np.uint8)
        assert cv2.imwrite(str(self.photo(59)), poison)
        write_deadly_models(self.models)

    def photo(self, number: int) -> Path:
        return self.day / f"{number:06d}.png"

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "platemill", *map(str, arguments), "--home", str(self.home)],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PLATEMILL_TRITON_MODELS": str(self.models),
            "PLATEMILL_SHARD_IMAGES": "4",
        }

    def answer(self, *arguments: str | Path) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return parsed

    def night(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run("run", "--archive", self.archive, *arguments, code=code)

    def servers(self) -> int:
        """How often a Triton was started, over all runs."""
        return len(list(self.home.glob("runs/*/triton-*/triton.log")))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, str]:
    """A deployment whose first night lost too much, and what that night said."""
    deployment = Deployment(tmp_path_factory.mktemp("quarantine"))
    return deployment, deployment.night(code=3).stderr


def test_a_night_that_loses_too_much_stops_unpublished(stopped: tuple[Deployment, str]) -> None:
    deployment, said = stopped
    lost, images = BROKEN + POISON, GOOD + BROKEN + POISON
    assert f"2026-05-01  {lost:>5} of {images}" in said
    assert "truncated (4): file:///" in said
    assert "--error-budget 0.295" in said
    assert "mend" in said
    assert deployment.answer("status")["generation"] is None
    assert deployment.answer("quarantine", "list")["images"] == []


def test_another_run_tries_again_only_what_may_be_well(stopped: tuple[Deployment, str]) -> None:
    deployment, _ = stopped
    assert "over its error budget" in deployment.night(code=3).stderr
    first, second = (
        re.search(r"(\d+) of (\d+) shards have no record", log.read_text())
        for log in sorted(deployment.home.glob("runs/*/recognize.log"))
    )
    assert first is not None
    assert second is not None
    assert first[1] == first[2] == second[2]
    # The shard with the poison; those with files that no try can mend are as they were.
    assert second[1] == "1"


def test_quarantine_is_listed_taken_and_tried_again(stopped: tuple[Deployment, str]) -> None:
    deployment, _ = stopped
    started = deployment.servers()
    night = json.loads(deployment.night("--error-budget", "0.295", "--json").stdout)
    assert (night["generation"], night["recognised"], night["quarantined"]) == (1, GOOD, 5)
    # Nothing was recognised again, so no server was started.
    assert deployment.servers() == started

    listed = deployment.answer("quarantine", "list")
    assert [(row["reason"], row["images"]) for row in listed["reasons"]] == [
        ("truncated", 4),
        ("poison", 1),
    ]
    told = {(row["reason"], row["stage"], row["attempts"]) for row in listed["images"]}
    # The poison killed twice in each of two runs.
    assert told == {("truncated", "decode", 1), ("poison", "infer", 4)}
    assert all(row["detail"] and row["camera_id"] == "cam" for row in listed["images"])
    shown = deployment.run("quarantine", "list", "--reason", "poison").stdout
    assert "000059.png" in shown.replace("\n", "")
    assert "truncated" not in shown
    assert deployment.answer("quarantine", "list", "--day", "2026-05-02")["images"] == []

    # Two files are mended, the others are as they were.
    for number in (0, 1):
        deployment.photo(number).write_bytes(deployment.whole[number])
    chosen = ("--reason", "truncated")
    dry = deployment.answer("quarantine", "retry", *chosen, "--dry-run")
    assert (dry["chosen"], dry["night"]) == (4, None)
    retried = deployment.answer("quarantine", "retry", *chosen)
    assert retried["night"]["images_new"] == 4
    assert retried["night"]["generation"] == 2
    left = deployment.answer("quarantine", "list")["images"]
    told = {(Path(row["uri"]).name, row["reason"], row["attempts"]) for row in left}
    assert told == {
        ("000002.png", "truncated", 2),
        ("000003.png", "truncated", 2),
        ("000059.png", "poison", 4),
    }
    rows = deployment.answer("sql", "SELECT status, count(*) AS n FROM images GROUP BY 1")["rows"]
    assert {row["status"]: row["n"] for row in rows} == {"recognised": GOOD + 2, "quarantined": 3}

    # Another model is another version: a whole night is asked for, not a patched generation.
    write_fake_models(deployment.models)
    said = deployment.run("quarantine", "retry", code=2).stderr
    assert "run a whole night" in said
