"""Damaged images through inventory, decoding and a real Triton: none lost, nothing dies.

A seeded corpus goes the way of a night up to the shards' records, in a real Ray job, with a fake
quick model behind a real Triton. A few hundred images of it in every test run, all ten thousand
among the long ones.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from fake_models import write_fake_models
from mutants import Mutant, mutant, write_corpus
from planned_night import plan_all, recognise, rows_of

from platemill.archive.decode import decode_image
from platemill.archive.exif import exif_time
from platemill.errors import ImageRejected
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]

MAX_PIXELS = 4_000_000
MOST_BYTES = 600 << 20
"""What a worker or a process of Triton may take at its peak, however many images it has seen."""
REASONS = {"not_an_image", "too_many_pixels", "truncated", "undecodable", "zero_bytes"}


@dataclass
class Watch:
    """The most memory, in bytes, that each worker and each process of Triton has taken."""

    cluster: PrivateCluster
    peaks: dict[str, int] = field(default_factory=Counter)

    def look(self, _progress: JobProgress) -> None:
        assert self.cluster.keeper_pid is not None
        for process in psutil.Process(self.cluster.keeper_pid).children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                name = (process.cmdline() or [""])[0].rpartition("/")[2].split(".")[0]
                if name.startswith(("ray::Worker", "triton")):
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+) kB", status)
                    peak = int(found[1]) << 10 if found else 0
                    self.peaks[name] = max(self.peaks[name], peak)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    with PrivateCluster(tmp_path_factory.mktemp("ray"), 180, cwd=PROJECT) as private:
        yield private


def prepared(home: Path, images: int) -> tuple[Settings, Plan, dict[str, Mutant]]:
    corpus = write_corpus(home / "archive", range(images))
    settings = load_settings(
        home=home / "home",
        project=PROJECT,
        triton_models=write_fake_models(home / "models"),
        max_image_pixels=MAX_PIXELS,
        workers=1,
    )
    plan = plan_all(settings, home / "archive")
    assert plan.total == images
    return settings, plan, corpus


@pytest.mark.ray
@pytest.mark.triton
@pytest.mark.parametrize(
    "images",
    [
        pytest.param(500, marks=pytest.mark.timeout(300)),
        pytest.param(10_000, marks=[pytest.mark.chaos, pytest.mark.timeout(1200)]),
    ],
)
def test_no_damaged_image_is_lost_and_nothing_dies(
    cluster: PrivateCluster, tmp_path: Path, images: int
) -> None:
    settings, plan, corpus = prepared(tmp_path, images)
    watch = Watch(cluster)
    said = recognise(cluster, settings, watch.look)
    assert "died" not in said
    assert "does not answer" not in said
    rows, _ = rows_of(settings, plan)
    assert len(rows) == images
    by_name = {row["uri"].split("/archive/", 1)[1]: row for row in rows}
    assert by_name.keys() == corpus.keys()
    for name, row in by_name.items():
        if row["status"] == "quarantined":
            assert row["reason"] in REASONS, row
            assert row["stage"] in ("inventory", "decode"), row
            assert row["detail"]
        else:
            assert row["status"] == ("recognised" if row["plates"] else "no_plate")
            assert row["width"] * row["height"] <= MAX_PIXELS
        if not corpus[name].damage:
            expected = "not_an_image" if corpus[name].base == "gif" else None
            assert row["reason"] == expected, (name, corpus[name].base)
    told = Counter(row["reason"] or "read" for row in rows)
    # The corpus reaches past the headers: much of it is decoded, whole or half.
    assert told["undecodable"] > images // 20
    assert told["read"] > images // 10
    print(images, dict(told), {name: peak >> 20 for name, peak in watch.peaks.items()})
    assert watch.peaks.keys() >= {"ray::Worker", "tritonserver", "triton_python_backend_stub"}
    assert max(watch.peaks.values()) < MOST_BYTES


def test_a_seed_gives_the_same_bytes_and_damages_differ() -> None:
    assert [mutant(seed) for seed in range(40)] == [mutant(seed) for seed in range(40)]
    made = [mutant(seed) for seed in range(400)]
    assert len({one.data for one in made}) > 350
    assert len({one.base for one in made}) > 20
    assert {one.damage == "" for one in made} == {True, False}


def test_a_damaged_image_is_pixels_or_a_reason() -> None:
    told: Counter[str] = Counter()
    for seed in range(2000):
        data = mutant(seed).data
        taken = exif_time(data)
        assert taken is None or isinstance(taken, int)
        try:
            pixels = decode_image(data, MAX_PIXELS)
        except ImageRejected as rejected:
            assert rejected.reason in REASONS
            assert rejected.detail
            told[rejected.reason] += 1
        else:
            assert pixels.shape[2] == 3
            assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
            told["read"] += 1
    assert told.keys() >= {"read", "not_an_image", "truncated", "undecodable", "too_many_pixels"}
