"""Leases and a vacuum over a bucket: the same promises, and local copies go with their files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, S3Server, point_at, s3_server
from small_lake import Photo, at, later, night, settings_for

from platemill.errors import LeaseHeld
from platemill.lake import open_lake
from platemill.lake.lease import Holder, live_runs
from platemill.lake.vacuum import cached_waste, doomed_generations, find_waste, remove_waste
from platemill.settings import Settings

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00"), (("A001AA77", 0.9),))
B = Photo("file:///c1/b.jpg", "c1", at("2026-05-01 11:00"), (("B002BB77", 0.9),))
DAY = "day=2026-05-01"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def settings(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    server.empty()
    point_at(monkeypatch, server.url)
    return settings_for(tmp_path / "home", lake_url=f"s3://{BUCKET}/lake")


def test_of_two_that_ask_at_once_one_has_the_lease(settings: Settings) -> None:
    storages = [open_lake(settings).storage for _ in range(4)]
    holders = [Holder(storage, f"r{n}") for n, storage in enumerate(storages)]
    taken: list[str] = []
    barrier = threading.Barrier(len(holders))

    def take(holder: Holder) -> None:
        barrier.wait()
        try:
            holder.acquire(DAY, 0)
        except LeaseHeld:
            return
        taken.append(holder.run_id)

    threads = [threading.Thread(target=take, args=(holder,)) for holder in holders]
    for holder in holders:
        holder.__enter__()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert live_runs(storages[0]) == {"r0", "r1", "r2", "r3"}
    for holder in holders:
        holder.__exit__()
    assert live_runs(storages[0]) == set()
    with Holder(storages[0], "later") as holder:
        assert holder.acquire(DAY, 0).token == 3


def test_a_vacuum_of_a_bucket_removes_files_and_copies(settings: Settings) -> None:
    for number, photos in enumerate(([A], [B], [A])):
        night(settings, photos, f"r{number}", now=later(number))
    lake = open_lake(settings)
    for entry in lake.generation(1).files().values():
        lake.storage.locate(entry.path)
    old = set(lake.generation(1).files()) - set(lake.generation(2).files())
    doomed = doomed_generations(lake, 2)
    assert doomed == [1]
    remove_waste(lake, find_waste(lake, doomed, staged_before=later(-9), planned=set()), list)
    assert old
    assert not any(lake.storage.exists(name) for name in old)
    assert not old & {entry.name for entry in lake.storage.cached()}
    for number in (2, 3):
        for name in lake.generation(number).files():
            assert lake.storage.locate(name).is_file()
    for entry in cached_waste(lake):
        lake.storage.forget(entry.name)
    needed = {name for number in (2, 3) for name in lake.generation(number).files()}
    assert {entry.name for entry in lake.storage.cached()} <= needed
