"""The online store in a real Redis: nights, rollbacks and deaths, and who else may be there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis_server import RedisServer
from small_lake import NIGHT, PROJECT, Photo, at, draft_night, later, settings_for

from platemill.errors import CheckFailed, ConfigurationError, RetryableError, ServerUnavailable
from platemill.features.catalog import VIEWS, entity_named
from platemill.features.encode import encode_entity_key
from platemill.features.online import (
    StagedOnline,
    finish_online,
    is_behind,
    published_stamp,
    stage_online,
)
from platemill.features.reader import entity_layout, open_reader
from platemill.features.redis_place import redis_place
from platemill.lake import Generation, open_lake
from platemill.lake.lease import PUBLISH, Holder
from platemill.launch.generations import list_generations, roll_back, vacuum
from platemill.launch.stages import Night
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.publish import publish

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00:01.25"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c2/b.jpg", "c2", at("2026-05-06 11:00"), (("B002BB77", 0.8),))
NEWER = Photo("file:///c2/n.jpg", "c2", at("2026-05-20 11:00"), (("A001AA77", 0.7),))
LATE = Photo("file:///c3/l.jpg", "c3", at("2026-05-01 12:00"), (("A001AA77", 0.5),))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """A client of the published database of an empty server."""
    with contextlib.closing(server.client()) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        yield client


@pytest.fixture
def settings(tmp_path: Path, redis: Redis, server: RedisServer) -> Settings:
    return settings_for(tmp_path / "home", online_url=url(server), lease_wait_seconds=60)


@pytest.fixture(autouse=True)
def on_the_first_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is expired yet."""
    monkeypatch.setattr("platemill.features.online_store.now", lambda: NIGHT)


def url(server: RedisServer, database: int = 0) -> str:
    return f"redis://127.0.0.1:{server.port}/{database}"


def staging(settings: Settings) -> Redis:
    place = redis_place(settings)
    assert place is not None
    return Redis.from_url(place.url_of(place.staging))


def whole_night(
    settings: Settings, photos: list[Photo], number: int, pipeline: str = "p1"
) -> tuple[Generation, StagedOnline]:
    draft = draft_night(settings, photos, f"r{number}", pipeline, later(number))
    staged = stage_online(settings, draft)
    generation = publish(settings, draft)
    assert finish_online(settings)
    return generation, staged


def ask(settings: Settings, key: str, view: str = "plate_day_v1") -> dict[str, Any]:
    """What Feast answers for a plate; empty if it is not found."""
    from platemill.features.store import open_store

    store = open_store(settings)
    names = [column.name for t in VIEWS if t.name == view for column in t.features]
    answer = store.get_online_features(
        [f"{view}:{name}" for name in names], entity_rows=[{"plate": key}]
    ).to_dict()
    return {name: answer[name][0] for name in names if answer[name][0] is not None}


def everything(client: Redis) -> dict[bytes, dict[bytes, bytes]]:
    """All hashes of Feast's in a database."""
    keys = client.scan_iter(count=1000)
    return {key: client.hgetall(key) for key in keys if not key.startswith(b"platemill:")}


def rebuilt(settings: Settings, server: RedisServer, tmp_path: Path) -> Any:
    """What a store that is written from nothing holds, of the current generation."""
    other = settings.model_copy(update={"online_url": url(server, 4), "online_staging_database": 5})
    generation = open_lake(settings).current()
    assert generation is not None
    stage_online(other, Draft(generation, None), tmp_path / "rebuilt")
    with contextlib.closing(staging(other)) as client:
        held = everything(client)
        client.flushdb()
    return held


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Path:
    """The home of two nights: A and B; a late image of A's day. Beside it, what Redis holds."""
    home = tmp_path_factory.mktemp("pattern") / "home"
    with contextlib.closing(server.client()) as client:
        client.flushall()
    settings = settings_for(home, online_url=url(server))
    whole_night(settings, [A, B], 0)
    whole_night(settings, [LATE], 1)
    held = []
    for database in (0, 1):
        with contextlib.closing(Redis(port=server.port, db=database)) as client:
            held.append([[k.hex(), client.dump(k).hex()] for k in client.scan_iter()])
    (home / "held.json").write_text(json.dumps(held))
    return home


@pytest.fixture
def two(pattern: Path, settings: Settings, server: RedisServer) -> Settings:
    """A copy of them."""
    shutil.copytree(pattern, settings.home)
    lake = open_lake(settings).url
    for database, keys in enumerate(json.loads((settings.home / "held.json").read_text())):
        with contextlib.closing(Redis(port=server.port, db=database)) as client:
            for key, held in keys:
                client.restore(bytes.fromhex(key), 0, bytes.fromhex(held))
            for name in ("platemill:stamp", "platemill:work"):
                client.set(name, json.dumps({**json.loads(client.get(name)), "lake": lake}))
    return settings


def test_a_night_is_published_and_read_by_feast_s_own_store(
    settings: Settings, server: RedisServer
) -> None:
    from feast import FeatureStore, RepoConfig

    from platemill.features.store import store_configuration

    generation, staged = whole_night(settings, [A, B], 0)
    assert (staged.full, staged.written, staged.compared) == (True, 14, 14)
    stamp = published_stamp(settings)
    assert stamp is not None
    assert stamp.is_of(generation)
    assert stamp.lake == open_lake(settings).url
    assert ask(settings, "A001AA77")["sightings"] == 1
    assert ask(settings, "Z999ZZ99") == {}

    # Feast's own class, by Feast's own configuration.
    written = store_configuration(settings)
    written["online_store"] = {
        "type": "redis",
        "connection_string": f"127.0.0.1:{server.port},db=0",
    }
    stock = FeatureStore(config=RepoConfig(**written, repo_path=PROJECT / "feature_repo"))
    answer = stock.get_online_features(
        stock.get_feature_service("image_lookup_v1"), entity_rows=[{"image_id": A.content}]
    ).to_dict()
    assert answer["texts"] == [["A001AA77", ""]]
    assert answer["reason"] == [None]


def test_only_what_changed_is_written_into_the_night_before_last(
    two: Settings, redis: Redis, server: RedisServer, tmp_path: Path
) -> None:
    # The first nights are written whole: each finds an empty database.
    _, third = whole_night(two, [NEWER], 2)
    assert not third.full
    # LATE and NEWER: a plate and two cameras in three views, two images.
    assert (third.written, third.deleted, third.compared) == (3 + 6 + 2, 0, 19)
    assert everything(redis) == rebuilt(two, server, tmp_path)
    assert ask(two, "A001AA77")["last_camera"] == "c2"
    # A late image does not bring old values back.
    whole_night(two, [replace(LATE, uri="file:///c4/l.jpg", camera="c4")], 3)
    assert ask(two, "A001AA77")["last_camera"] == "c2"
    assert ask(two, "A001AA77", "plate_month_v1")["sightings"] == 4


def test_a_key_without_tiles_is_deleted(
    two: Settings, redis: Redis, server: RedisServer, tmp_path: Path
) -> None:
    gone = [replace(B, plates=()), replace(LATE, plates=())]
    _, staged = whole_night(two, gone, 2)
    assert (staged.full, staged.deleted) == (False, 3)
    assert ask(two, "B002BB77") == {}
    assert everything(redis) == rebuilt(two, server, tmp_path)


def test_another_pipeline_or_other_definitions_are_another_store(
    two: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whole_night(two, [B], 2, "p2")[1].full
    assert ask(two, "A001AA77") == {}
    monkeypatch.setattr("platemill.features.staging.PACKED_LAYOUT", "another")
    assert whole_night(two, [LATE], 3)[1].full


def test_sql_and_the_store_are_rolled_back_together(two: Settings) -> None:
    settings = two
    whole_night(settings, [NEWER], 2)
    said = roll_back(settings, 1, dry_run=False, log=print)
    assert said["generation"] == 4
    listed = list_generations(settings)
    assert listed["current"] == listed["sql"] == listed["online"] == 4
    assert ask(settings, "A001AA77", "plate_month_v1")["sightings"] == 1
    roll_back(settings, 3, dry_run=False, log=print)
    assert ask(settings, "A001AA77", "plate_month_v1")["sightings"] == 3
    # The generation that the other database holds may be gone: then all of it is written.
    vacuum(settings, keep=1, staged_days=30, dry_run=False, log=print)
    assert whole_night(settings, [replace(B, camera="c9")], 7)[1].full


def test_staging_shows_nothing(settings: Settings, redis: Redis) -> None:
    whole_night(settings, [A], 0)
    before = everything(redis)
    stage_online(settings, draft_night(settings, [NEWER], "r1", now=later(1)))
    assert everything(redis) == before
    assert not is_behind(settings)
    assert not finish_online(settings)


def test_a_run_that_died_after_its_commit_is_finished_by_the_next(settings: Settings) -> None:
    whole_night(settings, [A], 0)
    draft = draft_night(settings, [NEWER], "r1", now=later(1))
    stage_online(settings, draft)
    publish(settings, draft)
    assert is_behind(settings)
    assert finish_online(settings, rebuild=False)
    assert ask(settings, "A001AA77")["last_camera"] == "c2"
    # And if what was prepared is lost too, or the whole server.
    publish(settings, draft_night(settings, [B], "r2", now=later(2)))
    assert not finish_online(settings, rebuild=False)
    assert finish_online(settings)
    assert ask(settings, "B002BB77")["sightings"] == 1
    with contextlib.closing(staging(settings)) as client:
        client.flushall()
    assert finish_online(settings)
    assert ask(settings, "B002BB77")["sightings"] == 1


def test_two_that_finish_a_night_do_not_undo_each_other(settings: Settings) -> None:
    whole_night(settings, [A], 0)
    draft = draft_night(settings, [NEWER], "r1", now=later(1))
    stage_online(settings, draft)
    generation = publish(settings, draft)
    place = redis_place(settings)
    assert place is not None
    assert place.swap(generation)
    assert place.swap(generation)
    stamp = place.stamp()
    assert stamp is not None
    assert stamp.is_of(generation)
    assert not place.swap(replace(generation, number=9))


def test_a_lost_registry_is_made_again(settings: Settings) -> None:
    whole_night(settings, [A], 0)
    (settings.features / "registry.db").unlink()
    assert is_behind(settings)
    assert finish_online(settings)
    assert ask(settings, "A001AA77")["sightings"] == 1


def test_a_run_repairs_the_store_unless_another_publishes(two: Settings, redis: Redis) -> None:
    lake = open_lake(two)
    night = Night.new(two, "next", [str(two.home)], None)
    night.repair()
    redis.flushall()
    with Holder(lake.storage, "other") as other:
        other.acquire(PUBLISH, above=lake.fence(PUBLISH))
        night.repair()
        assert published_stamp(two) is None
    night.repair()
    assert not is_behind(two)
    # What it took to do so, it gave back.
    with Holder(lake.storage, "another") as another:
        another.acquire(PUBLISH, above=lake.fence(PUBLISH))


def test_what_feast_writes_by_hand_is_written_over(two: Settings) -> None:
    from platemill.features.store import open_store

    settings = two
    store = open_store(settings)
    view = store.get_feature_view("plate_day_v1")
    redis_store = store._get_provider().online_store
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["plate"], entity_values=[Value(string_val="HAND")])
    row = (key, {"sightings": Value(int64_val=7)}, NIGHT, None)
    redis_store.online_write_batch(store.config, view, [row], None)
    assert ask(settings, "HAND") == {"sightings": 7}
    # The published database is the next but one that is written.
    assert not whole_night(settings, [NEWER], 2)[1].full
    assert ask(settings, "HAND") == {}
    assert whole_night(settings, [replace(B, camera="c7")], 3)[1].full


SPOILS: dict[str, tuple[Any, str]] = {
    "missing": (lambda r, k: r.delete(k), "1 are missing.*: missing"),
    "view gone": (lambda r, k: r.hdel(k, *r.hkeys(k)), "1 are missing"),
    "time gone": (lambda r, k: r.hdel(k, b"_ts:image_recognitions_v1"), "event time"),
    "time": (lambda r, k: r.hset(k, b"_ts:image_recognitions_v1", b"\x08\x01"), "event time"),
    "no time": (lambda r, k: r.hset(k, b"_ts:image_recognitions_v1", b"\xff"), "event time"),
    "field": (lambda r, k: r.hset(k, field("plates"), b"\x20\x07"), "plates: tile 2, online 7"),
    "bytes": (lambda r, k: r.hset(k, field("texts"), b"\x62\xff"), "texts: .* bytes 62ff"),
    "null": (lambda r, k: r.hdel(k, field("copies")), "copies: tile 1, online None"),
    "empty field gone": (lambda r, k: r.hdel(k, field("reason")), "1 keys are missing something"),
    "extra field": (lambda r, k: r.hset(k, b"_ts:other", b"x"), "have too much.*image_id"),
    "extra key": (lambda r, k: r.hset(b"x" + k, b"f", b"x"), "1 are extra"),
    "extra view": (
        lambda r, k: r.hset(
            encode_entity_key("A001AA77", "plate") + b"platemill",
            mapping={b"_ts:camera_day_v1": b"x", b"1234": b""},
        ),
        "1 are extra or have too much. plate A001AA77",
    ),
}


def field(name: str) -> bytes:
    from platemill.features.redis_target import field_name

    return field_name("image_recognitions_v1", name)


@pytest.mark.parametrize("spoil", SPOILS)
def test_any_difference_from_the_tiles_is_found(two: Settings, redis: Redis, spoil: str) -> None:
    from platemill.features.gate import compare_published

    assert compare_published(two) == 18
    change, text = SPOILS[spoil]
    change(redis, encode_entity_key(A.content, "image_id") + b"platemill")
    with pytest.raises(CheckFailed, match=text):
        compare_published(two)


def test_a_difference_stops_the_night_and_the_next_writes_all_of_it_anew(
    two: Settings,
) -> None:
    settings = two
    with contextlib.closing(staging(settings)) as client:
        client.delete(encode_entity_key(B.content, "image_id") + b"platemill")
    draft = draft_night(settings, [NEWER], "r2", now=later(2))
    with pytest.raises(CheckFailed, match="1 are missing"):
        stage_online(settings, draft)
    assert open_lake(settings).numbers() == [1, 2]
    assert stage_online(settings, draft).full
    publish(settings, draft)
    assert finish_online(settings)


def test_databases_of_somebody_else_are_refused_with_the_cure(
    settings: Settings, redis: Redis, tmp_path: Path, server: RedisServer
) -> None:
    draft = draft_night(settings, [A], "r0")
    redis.set("theirs", "1")
    with pytest.raises(ConfigurationError, match=r"1 keys of somebody .*redis-cli -n 0 FLUSHDB"):
        stage_online(settings, draft)
    redis.delete("theirs")
    with contextlib.closing(staging(settings)) as client:
        client.set("theirs", "1")
        with pytest.raises(ConfigurationError, match=r"prepared .* 1 keys of somebody else"):
            stage_online(settings, draft)
        assert client.get("theirs") == b"1"
        client.delete("theirs")
    publish(settings, draft)
    finish_online(settings)
    # Another deployment.
    other = settings_for(tmp_path / "other", online_url=url(server))
    with pytest.raises(
        ConfigurationError, match=r"is the online store of the lake .*home/lake, this"
    ):
        stage_online(other, draft_night(other, [B], "r0"))
    same = settings.model_copy(update={"online_staging_database": 0})
    with pytest.raises(ConfigurationError, match="it has to be another"):
        stage_online(same, draft)
    far = settings.model_copy(update={"online_staging_database": 99})
    with pytest.raises(ConfigurationError, match="fewer databases"):
        stage_online(far, draft)
    none = settings.model_copy(update={"online_url": "http://127.0.0.1/0"})
    with pytest.raises(ConfigurationError, match="which is no Redis"):
        stage_online(none, draft)


def test_a_server_that_loses_or_refuses_says_what_to_change(
    settings: Settings, redis: Redis
) -> None:
    draft = draft_night(settings, [A], "r0")
    redis.config_set("maxmemory", 100_000_000)
    redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigurationError, match="maxmemory-policy noeviction"):
        stage_online(settings, draft)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)
    with pytest.raises(ConfigurationError, match="no memory left"):
        stage_online(settings, draft)


def test_credentials_are_not_shown(settings: Settings, redis: Redis, server: RedisServer) -> None:
    wrong = settings.model_copy(update={"online_url": f"redis://:secret@127.0.0.1:{server.port}/0"})
    draft = draft_night(settings, [A], "r0")
    redis.config_set("requirepass", "other")
    try:
        with pytest.raises(ConfigurationError, match="refuses the credentials") as seen:
            stage_online(wrong, draft)
        assert "secret" not in str(seen.value)
        right = settings.model_copy(
            update={"online_url": f"redis://:other@127.0.0.1:{server.port}/0"}
        )
        assert stage_online(right, draft).written == 7
    finally:
        redis.auth("other")
        redis.config_set("requirepass", "")


def test_a_server_that_is_gone_is_worth_another_try(tmp_path: Path) -> None:
    with RedisServer() as server:
        settings = settings_for(tmp_path / "home", online_url=url(server))
        draft = draft_night(settings, [A], "r0")
        server.stop()
        with pytest.raises(ServerUnavailable, match="Is redis-server running"):
            stage_online(settings, draft)
        server.restart()
        stage_online(settings, draft)
        publish(settings, draft)
        finish_online(settings)
        # It keeps nothing: all of it is made again from the tiles.
        server.stop()
        server.restart()
        assert published_stamp(settings) is None
        assert finish_online(settings)
        assert ask(settings, "A001AA77")["sightings"] == 1


def test_who_was_taken_over_writes_nothing_more(
    settings: Settings, redis: Redis, server: RedisServer, tmp_path: Path
) -> None:
    """A run stops after its claim; another does all the work; the first wakes up."""
    whole_night(settings, [A], 0)
    slow = draft_night(settings, [NEWER], "slow", now=later(1))
    quick = draft_night(settings, [LATE], "quick", now=later(2))

    def meanwhile(_progress: object) -> None:
        # After the first chunk of the slow one.
        if open_lake(settings).numbers() == [1]:
            stage_online(settings, quick)
            publish(settings, quick)
            finish_online(settings)

    with pytest.raises(RetryableError, match="another run prepares the online store"):
        stage_online(settings, slow, progress=meanwhile)
    assert ask(settings, "A001AA77", "plate_month_v1")["sightings"] == 2
    assert everything(redis) == rebuilt(settings, server, tmp_path)


class Died(BaseException):
    """The process is gone, as far as the server can tell."""


def night_of(settings: Settings, photo: Photo, run_id: str) -> None:
    draft = draft_night(settings, [photo], run_id, now=later(5))
    stage_online(settings, draft)
    publish(settings, draft)
    finish_online(settings)


POINTS = [
    "features.stage.before",
    "redis.claim.after",
    "features.chunk.after",
    "features.rows.after",
    "features.stamp.before",
    "features.stage.after",
    "publish.commit.before",
    "publish.commit.after",
    "publish.online.before",
    "publish.store.before",
    "redis.swap.before",
    "redis.swap.after",
    "publish.online.after",
]


def run_again(settings: Settings, redis: Redis, before: object) -> None:
    """After a night that died: nothing half-done is seen, and the next night goes on."""
    from platemill.features.gate import compare_published

    committed = len(open_lake(settings).numbers()) > 2
    if not committed:
        assert everything(redis) == before
    finish_online(settings)
    if not committed:
        # Another draft than the one that died: its rows are of another night.
        _, staged = whole_night(settings, [replace(NEWER, camera="c8")], 6)
        assert not staged.full
    assert not is_behind(settings)
    compare_published(settings)
    assert list_generations(settings)["online"] == 3


@pytest.mark.parametrize("point", POINTS)
def test_a_night_that_dies_anywhere_is_simply_run_again(
    two: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    before = everything(redis)

    def die(name: str) -> None:
        if name == point:
            raise Died

    with monkeypatch.context() as patched:
        # The registry is another, so that it is put in place, too.
        (two.features / "definitions.txt").write_text("others")
        for module in ("online", "staging", "write"):
            patched.setattr(f"platemill.features.{module}.failpoint", die)
        patched.setattr("platemill.warehouse.publish.failpoint", die)
        with pytest.raises(Died):
            night_of(two, NEWER, "dies")
    run_again(two, redis, before)


DIES = """
import sys
from pathlib import Path
sys.path.insert(0, {support!r})
from small_lake import Photo, at, draft_night, later, settings_for
from platemill.features import write
from platemill.features.online import finish_online, stage_online
from platemill.warehouse.publish import publish
write._CHUNK = 1
settings = settings_for(Path(sys.argv[1]), online_url=sys.argv[2])
newer = Photo("file:///c2/n.jpg", "c2", at("2026-05-20 11:00"), (("A001AA77", 0.7),))
draft = draft_night(settings, [newer], "dies", now=later(5))
stage_online(settings, draft)
publish(settings, draft)
finish_online(settings)
""".format(support=str(PROJECT / "tests" / "support"))


@pytest.mark.parametrize(("point", "hit"), [("features.chunk.after", 3), ("redis.swap.before", 1)])
def test_a_night_that_is_killed_is_simply_run_again(
    two: Settings, redis: Redis, tmp_path: Path, point: str, hit: int
) -> None:
    before = everything(redis)
    folder = tmp_path / "failpoints"
    folder.mkdir()
    (folder / f"{point}.json").write_text(json.dumps({"action": "kill", "hit": hit}))
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(two.home), str(two.online_url)],
        env={**os.environ, "PLATEMILL_FAILPOINTS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_again(two, redis, before)


def test_work_that_was_killed_half_way_is_gone_on_with(
    settings: Settings,
    redis: Redis,
    server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platemill.features.write._CHUNK", 1)

    def die(progress: Any) -> None:
        seen.append(progress)
        if len(seen) == 9:
            raise Died

    draft = draft_night(settings, [A, B], "r0")
    seen: list[Any] = []
    with pytest.raises(Died):
        stage_online(settings, draft, progress=die)
    # Another run of the same content, as a rollback that is run again.
    again = replace(draft, generation=replace(draft.generation, run_id="again"))
    staged = stage_online(settings, again)
    assert (staged.full, staged.written, staged.compared) == (True, 14 - 9, 14)
    publish(settings, again)
    finish_online(settings)
    assert everything(redis) == rebuilt(settings, server, tmp_path)


@pytest.mark.parametrize(("drafts", "full"), [(1, False), (5, False), (6, True)])
def test_abandoned_drafts_leave_nothing_behind(
    two: Settings,
    redis: Redis,
    server: RedisServer,
    tmp_path: Path,
    drafts: int,
    full: bool,
) -> None:
    settings = two
    for number in range(2, 2 + drafts):
        photo = replace(NEWER, camera=f"d{number}", plates=((f"X{number:03}XX77", 0.5),))
        stage_online(settings, draft_night(settings, [photo], f"r{number}", now=later(number)))
    _, staged = whole_night(settings, [replace(B, camera="c7")], 20)
    # A plate and a camera of each draft, the image of all of them, and the camera that B had.
    assert (staged.full, staged.deleted) == (full, 0 if full else 6 * drafts + 1 + 3)
    assert everything(redis) == rebuilt(settings, server, tmp_path)


def test_an_expired_row_is_not_found(two: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(two, "A001AA77")["sightings"] == 2
    # The day's time to live is 90 days, from the end of the day on.
    for moment, found in (("2026-07-31 00:00:00", True), ("2026-07-31 00:00:01", False)):
        monkeypatch.setattr("platemill.features.online_store.now", lambda m=moment: at(m))
        assert bool(ask(two, "A001AA77")) == found
        assert ask(two, "A001AA77", "plate_month_v1")["sightings"] == 2


def test_raw_rows_come_with_the_generation_that_they_are_of(two: Settings) -> None:
    from platemill.features.decode import decode_value

    layout = entity_layout(entity_named("plate"))
    with contextlib.closing(open_reader(two)) as reader:
        stamp, rows = reader.read(layout, ["A001AA77", "Z999ZZ99", "B002BB77"])
        event = reader.seconds(rows[0][layout.views[0].time])
    assert stamp.is_of(open_lake(two).current())
    there = [[row[view.time] is not None for row in rows] for view in layout.views]
    assert there == [[True, False, True]] * 3
    assert event == int(at("2026-05-02 00:00").timestamp())
    tables = [view.table for view in layout.views]
    values = rows[0][1 : layout.views[0].end]
    decoded = [
        decode_value(value, column.type)
        for column, value in zip(tables[0].features, values, strict=True)
    ]
    assert decoded[0] == 2
    assert len(decoded) == len(tables[0].features)
