"""Images that kill, with a real Triton and a real Ray: exactly they are quarantined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from deadly_models import (
    ENDS_THE_MODEL,
    ENDS_THE_SERVER,
    ENDS_THE_WORKER,
    HANGS,
    STALLS_THE_WORKER,
    write_deadly_models,
    write_deadly_project,
)
from fake_models import plates_in
from planned_night import RUN, plan_all, recognise, rows_of

from platemill.errors import ServerUnavailable
from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
DAYS, PER_DAY = 2, 30


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deadly_project(tmp_path_factory.mktemp("deadly") / "project")


@pytest.fixture(scope="module")
def cluster(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with PrivateCluster(tmp_path_factory.mktemp("ray"), 180, cwd=project) as private:
        yield private


def write_archive(folder: Path, deadly: dict[int, int]) -> None:
    """``DAYS`` x ``PER_DAY`` small photos; ``deadly``: number of a photo → what it does."""
    random = np.random.default_rng(5)
    for number in range(DAYS * PER_DAY):
        image = random.integers(0, 200, (24, 32, 3), dtype=np.uint8)
        image[0, 0, 2] = deadly.get(number, 0)
        place = folder / "cam" / "2026" / "05" / f"{1 + number // PER_DAY:02d}"
        place.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(place / f"{number:06d}.png"), image)


def prepared(home: Path, deadly: dict[int, int], **given: Any) -> tuple[Settings, Plan]:
    write_archive(home / "archive", deadly)
    settings = load_settings(home=home / "home", shard_images=16, **{"project": PROJECT, **given})
    return settings, plan_all(settings, home / "archive")


def rows_by_number(settings: Settings, plan: Plan) -> dict[int, dict[str, Any]]:
    """The rows of ``images`` with their plates, by the photo's number."""
    images, recognitions = rows_of(settings, plan)
    rows = {int(Path(row["uri"]).stem): {**row, "texts": []} for row in images}
    for row in recognitions:
        rows[int(Path(row["uri"]).stem)]["texts"].append(row["plate"])
    return rows


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "in bulk"])
def test_exactly_the_images_that_kill_are_quarantined(
    cluster: PrivateCluster, project: Path, tmp_path: Path, bulk: bool
) -> None:
    deadly = {
        7: (ENDS_THE_MODEL, "infer", "Triton died"),
        8: (ENDS_THE_MODEL, "infer", "Triton died"),
        20: (ENDS_THE_WORKER, "decode", "a worker died while it was decoded"),
        41: (ENDS_THE_SERVER, "infer", "Triton died"),
        55: (HANGS, "infer", "Triton hung"),
    }
    settings, plan = prepared(
        tmp_path,
        {number: what for number, (what, _, _) in deadly.items()},
        project=project,
        triton_models=write_deadly_models(tmp_path / "models", bulk=bulk),
        workers=2,
        triton_answer_seconds=5,
    )
    log = recognise(cluster, settings)
    rows = rows_by_number(settings, plan)
    assert sorted(rows) == list(range(DAYS * PER_DAY))
    for number, row in rows.items():
        if number in deadly:
            _, stage, seen = deadly[number]
            told = (row["status"], row["reason"], row["stage"], row["attempts"], row["texts"])
            assert told == ("quarantined", "poison", stage, 2, []), (number, row)
            assert seen in row["detail"]
        else:
            blue, green, _ = cv2.imread(row["uri"].removeprefix("file://"))[0, 0]
            told = (row["reason"], row["stage"], row["attempts"], row["texts"])
            assert told == (None, None, 1, plates_in(int(blue), int(green))), (number, row)
    assert log.count("killed twice, alone: it is quarantined") == len(deadly)
    # Nothing of the search is left behind.
    assert list((settings.runs / RUN).glob("trail-*")) == []


def test_a_server_that_always_dies_blames_no_image(
    cluster: PrivateCluster, project: Path, tmp_path: Path
) -> None:
    models = write_deadly_models(tmp_path / "models", always=True)
    settings, plan = prepared(tmp_path, {}, project=project, triton_models=models)
    with pytest.raises(ServerUnavailable, match=r"5 times in a row.*grey picture") as caught:
        recognise(cluster, settings)
    assert caught.value.exit_code == 4
    lake = open_lake(settings)
    assert [lake.shard(shard.key) for shard in plan.shards] == [None] * len(plan.shards)


def test_more_poison_than_allowed_is_taken_for_a_broken_server(
    cluster: PrivateCluster, project: Path, tmp_path: Path
) -> None:
    settings, _ = prepared(
        tmp_path,
        {5: ENDS_THE_MODEL, 6: ENDS_THE_MODEL},
        project=project,
        triton_models=write_deadly_models(tmp_path / "models"),
        poison_images=1,
    )
    with pytest.raises(ServerUnavailable, match=r"2 images of this run kill.*POISON_IMAGES"):
        recognise(cluster, settings)


@pytest.mark.chaos
def test_an_image_that_never_lets_its_worker_go_is_poison(
    cluster: PrivateCluster, project: Path, tmp_path: Path
) -> None:
    settings, plan = prepared(
        tmp_path,
        {9: STALLS_THE_WORKER},
        project=project,
        triton_models=write_deadly_models(tmp_path / "models"),
        stall_seconds=10,
    )
    recognise(cluster, settings)
    rows = rows_by_number(settings, plan)
    found = {number: row for number, row in rows.items() if row["reason"] is not None}
    assert list(found) == [9]
    assert (found[9]["reason"], found[9]["stage"]) == ("poison", "decode")
    assert "finished no image in 10 s" in found[9]["detail"]
