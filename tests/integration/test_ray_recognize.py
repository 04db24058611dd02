"""The recognition job in a real cluster: every shard is recorded once, whoever dies.

The model is a small server that speaks Triton's protocol; reading, decoding, the client, the
workers and the lake are the real ones.
"""

import datetime as dt
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from planned_night import RUN, plan_all, recognise, rows_of
from small_server import SmallServer, plates_of

from platemill.errors import ServerUnavailable, ShardsIncomplete
from platemill.journal import Journal, read_journal
from platemill.lake import open_lake
from platemill.launch.clusters.private import PrivateCluster
from platemill.launch.records import JobProgress
from platemill.recognize.plan import Plan
from platemill.settings import Settings, load_settings

pytestmark = pytest.mark.ray

PROJECT = Path(__file__).parents[2]
DAYS, PER_DAY, BROKEN = 2, 40, 3


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    random = np.random.default_rng(3)
    for day in range(1, DAYS + 1):
        place = folder / "cam" / "2026" / "05" / f"{day:02d}"
        place.mkdir(parents=True)
        for number in range(PER_DAY):
            image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            # PNG keeps the first pixel, which the small server's answer hangs on.
            assert cv2.imwrite(str(place / f"{number:06d}.png"), image)
        for number in range(BROKEN):
            (place / f"{90 + number:06d}.jpg").write_bytes(b"this is no image")
    return folder


def prepared(home: Path, archive: Path, **given: object) -> tuple[Settings, Plan]:
    settings = load_settings(home=home, project=PROJECT, shard_images=16, **given)
    return settings, plan_all(settings, archive)


def check_rows(settings: Settings, plan: Plan) -> None:
    """Every image has one row and the plates that the small server sees in it."""
    images, recognitions = rows_of(settings, plan)
    assert sorted(str(row["uri"]) for row in images) == sorted(plan.table["uri"].to_pylist())
    by_image: dict[str, list[str]] = {str(row["uri"]): [] for row in images}
    for row in recognitions:
        by_image[str(row["uri"])].append(str(row["plate"]))
    for row in images:
        uri = str(row["uri"])
        pixels = cv2.imread(uri.removeprefix("file://"))
        if pixels is None:
            assert row["status"] == "quarantined"
            assert by_image[uri] == []
        else:
            expected = plates_of(pixels)
            assert row["status"] == ("recognised" if expected else "no_plate")
            assert by_image[uri] == expected
    records = {path.stem for path in (settings.lake / "_shards").glob("*.json")}
    assert records == {shard.key for shard in plan.shards}


@pytest.fixture
def server() -> Iterator[SmallServer]:
    with SmallServer(seconds=0.05) as small:
        yield small


def workers(cluster: PrivateCluster) -> list[psutil.Process]:
    assert cluster.keeper_pid is not None
    family = psutil.Process(cluster.keeper_pid).children(recursive=True)
    return [process for process in family if _title(process).startswith("ray::Worker")]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def check_journal(settings: Settings, plan: Plan, last: JobProgress) -> None:
    """What happened is in the journal: a node, a worker that was lost, every shard, the end."""
    events = read_journal(settings.runs / RUN)
    up, down = (one_of(events, name) for name in ("node_up", "node_down"))
    assert (up["kind"], up["gpus"]) == ("cpu", 0)
    assert up["cpus"] >= 4
    assert down == {"at": down["at"], "event": "node_down", "node": up["node"], "why": "job ended"}
    assert one_of(events, "worker_lost")["node"] == up["node"]
    failed = [event["key"] for event in events if event["event"] == "shard_failed"]
    assert failed
    by_key = {event["key"]: event for event in events if event["event"] == "shard"}
    assert set(by_key) == {shard.key for shard in plan.shards}
    for shard in plan.shards:
        event = by_key[shard.key]
        assert event["day"] == str(shard.day)
        assert event["images"] == shard.images
        assert event["images"] == event["recognised"] + event["no_plate"] + event["quarantined"]
        assert event["bytes"] == sum(image.byte_size for image in plan.images(shard.key))
        assert event["attempt"] == 1 + failed.count(shard.key)
        assert event["node"] == up["node"]
        assert event["worker"] in {"w1", "w2", "w3"}
        began, ended, at = (moment(event[name]) for name in ("began", "ended", "at"))
        assert moment(up["at"]) < began < ended < at < moment(down["at"])
    noted = [event for event in events if event["event"] == "progress"]
    wanted = {name: getattr(last, name) for name in noted[-1] if name not in ("at", "event")}
    assert {name: noted[-1][name] for name in wanted} == wanted
    assert wanted["images_done"] == wanted["images_total"] == len(plan.table)
    done = [event["images_done"] for event in noted]
    assert done == sorted(done)


def one_of(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The only event of that name."""
    (event,) = [event for event in events if event["event"] == name]
    return event


moment = dt.datetime.fromisoformat


@pytest.fixture
def slow_server() -> Iterator[SmallServer]:
    """One that leaves the time to kill somebody."""
    with SmallServer(seconds=0.3) as small:
        yield small


def test_all_is_recognised_once_although_a_worker_is_killed(
    cluster: PrivateCluster, archive: Path, tmp_path: Path, slow_server: SmallServer
) -> None:
    server = slow_server
    settings, plan = prepared(tmp_path / "home", archive, workers=2, triton_address=server.address)
    assert len(plan.shards) > 4
    told: list[JobProgress] = []
    killed: list[int] = []

    def kill_one(progress: JobProgress) -> None:
        told.append(progress)
        if not killed and 0 < progress.images_done < progress.images_total // 2:
            # The other one may not have begun yet.
            victim = max(workers(cluster), key=lambda one: sum(one.cpu_times()[:2]))
            victim.kill()
            killed.append(victim.pid)

    log = recognise(cluster, settings, kill_one)
    assert killed
    assert "a worker died with" in log
    check_rows(settings, plan)
    images = DAYS * (PER_DAY + BROKEN)
    last = told[-1]
    assert (last.shards_done, last.shards_total) == (len(plan.shards), len(plan.shards))
    assert (last.images_done, last.images_total) == (images, images)
    assert last.recognised + last.no_plate == DAYS * PER_DAY
    assert last.quarantined == DAYS * BROKEN
    check_journal(settings, plan, last)

    # One record gone: one shard is done again, no more.
    asked = server.images
    gone = max(plan.shards, key=lambda shard: shard.images)
    (settings.lake / "_shards" / f"{gone.key}.json").unlink()
    shutil.rmtree(settings.lake / "_staging" / gone.key)
    again = recognise(cluster, settings)
    assert f"1 of {len(plan.shards)} shards have no record" in again
    assert 0 < server.images - asked <= gone.images
    check_rows(settings, plan)
    assert [event.get("key") for event in read_journal(settings.runs / RUN)].count(gone.key) == 2


def test_workers_share_the_servers_that_are_given(
    cluster: PrivateCluster, archive: Path, tmp_path: Path, server: SmallServer
) -> None:
    with SmallServer(seconds=0.05) as other:
        addresses = f"{server.address}, {other.address}"
        settings, plan = prepared(tmp_path / "farm", archive, workers=2, triton_address=addresses)
        recognise(cluster, settings)
        assert server.images + other.images == DAYS * PER_DAY
        assert min(server.images, other.images) > 0
    check_rows(settings, plan)


def test_a_server_that_goes_away_for_a_while_costs_only_time(
    cluster: PrivateCluster, archive: Path, tmp_path: Path
) -> None:
    server = SmallServer(seconds=0.05)
    settings, plan = prepared(tmp_path / "away", archive, triton_address=server.address)
    replaced: list[SmallServer] = []
    paused = threading.Event()

    def replace() -> None:
        server.stop()
        time.sleep(0.5)
        replaced.append(SmallServer(port=server.port))

    thread = threading.Thread(target=replace)

    def pause(progress: JobProgress) -> None:
        if progress.images_done and not paused.is_set():
            paused.set()
            thread.start()

    try:
        log = recognise(cluster, settings, pause)
    finally:
        if paused.is_set():
            thread.join(30)
        for small in (server, *replaced):
            small.stop()
    assert "does not answer" in log
    assert replaced
    assert replaced[0].images > 0
    check_rows(settings, plan)


def test_a_server_that_never_answers_is_a_retryable_error(
    cluster: PrivateCluster, archive: Path, tmp_path: Path
) -> None:
    gone = SmallServer()
    gone.stop()
    settings, plan = prepared(
        tmp_path / "gone", archive, triton_address=gone.address, triton_start_seconds=1
    )
    with pytest.raises(ServerUnavailable, match="does not answer"):
        recognise(cluster, settings)
    lake = open_lake(settings)
    assert [lake.shard(shard.key) for shard in plan.shards] == [None] * len(plan.shards)


def test_a_shard_that_always_fails_is_given_up_and_the_others_are_kept(
    cluster: PrivateCluster, archive: Path, tmp_path: Path, server: SmallServer
) -> None:
    settings, plan = prepared(tmp_path / "poison", archive, triton_address=server.address)
    # A staging folder that is a file: whoever writes that shard fails, whatever is tried.
    poisoned = plan.shards[0]
    staging = settings.lake / "_staging"
    staging.mkdir(parents=True)
    (staging / poisoned.key).write_text("in the way")
    with pytest.raises(ShardsIncomplete, match=f"1 of {len(plan.shards)} .*{poisoned.key}"):
        recognise(cluster, settings)
    lake = open_lake(settings)
    missing = [shard.key for shard in plan.shards if lake.shard(shard.key) is None]
    assert missing == [poisoned.key]
    events = read_journal(settings.runs / RUN)
    failures = [event for event in events if event["event"] == "shard_failed"]
    assert [event["key"] for event in failures] == [poisoned.key] * 3
    assert [event["attempt"] for event in failures] == [1, 2, 3]
    assert all(poisoned.key in event["why"] for event in failures)
    assert one_of(events, "node_down")["why"] == "job ended"


def test_a_job_whose_budget_is_spent_begins_nothing_more_and_ends_well(
    cluster: PrivateCluster, archive: Path, tmp_path: Path
) -> None:
    # The job looks at its budget every five seconds: by then it must not be through.
    with SmallServer(seconds=2.0) as slow:
        settings, plan = prepared(tmp_path / "home", archive, triton_address=slow.address)
        journal = Journal(settings.runs / RUN)

        def estimate(budget: float) -> None:
            prices = {"per_hour": {"cpu": 1.0}, "currency": "EUR"}
            images = {str(day): 1 for day in plan.days}
            journal.write(
                "estimate", pipeline_version="p1", images=images, prices=prices, budget=budget
            )

        told: list[JobProgress] = []

        def spend_it(progress: JobProgress) -> None:
            if progress.shards_done and not told:
                told.append(progress)
                estimate(1e-9)

        estimate(1e9)
        log = recognise(cluster, settings, spend_it)
    assert "the budget is spent" in log
    lake = open_lake(settings)
    recorded = [shard for shard in plan.shards if lake.shard(shard.key) is not None]
    assert 0 < len(recorded) < len(plan.shards)
    # The newest day came first.
    newest = [shard for shard in plan.shards if shard.day == max(plan.days)]
    assert set(recorded) <= set(newest) or set(newest) <= set(recorded)
