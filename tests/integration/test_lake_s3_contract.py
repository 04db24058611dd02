"""What every storage of a lake promises: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, S3Server, point_at, s3_server
from small_lake import Photo, at, night, settings_for, stage

from platemill.errors import ConfigurationError, RetryableError
from platemill.lake import open_lake
from platemill.lake.s3 import S3Storage
from platemill.lake.storage import Storage
from platemill.settings import Settings

PHOTOS = [Photo("file:///a", "c1", at("2026-05-01 10:00"), (("A111AA77", 0.9),))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    if request.param == "folder":
        return settings_for(tmp_path / "home")
    server: S3Server = request.getfixturevalue("server")
    server.empty()
    point_at(monkeypatch, server.url)
    return settings_for(tmp_path / "home", lake_url=f"s3://{BUCKET}/some/lake")


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Storage:
    server.empty()
    point_at(monkeypatch, server.url)
    return S3Storage(f"s3://{BUCKET}/lake", tmp_path / "cache")


def storage_of(settings: Settings) -> Storage:
    return open_lake(settings).storage


def put(storage: Storage, name: str, data: bytes) -> bool:
    temporary = storage.temporary()
    temporary.write_bytes(data)
    try:
        return storage.adopt(temporary, name)
    finally:
        temporary.unlink()


def test_a_name_is_taken_once(settings: Settings) -> None:
    storage = storage_of(settings)
    assert storage.read("a/b") is None
    assert not storage.exists("a/b")
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    assert not storage.create("a/b", b"first")
    assert not put(storage, "a/b", b"third")
    assert storage.exists("a/b")
    assert storage.read("a/b") == b"first"
    assert storage.locate("a/b").read_bytes() == b"first"


def test_a_file_comes_whole_under_its_name(settings: Settings) -> None:
    storage = storage_of(settings)
    data = os.urandom(3_000_000)
    assert put(storage, "t/day=2026-05-01/x.parquet", data)
    elsewhere = storage_of(settings_for(settings.home / "2", lake_url=settings.lake_url))
    if settings.lake_url:
        assert elsewhere.locate("t/day=2026-05-01/x.parquet").read_bytes() == data
    assert storage.locate("t/day=2026-05-01/x.parquet").read_bytes() == data
    assert not list((storage.root / "_tmp").iterdir())


def test_replace_and_remove(settings: Settings) -> None:
    storage = storage_of(settings)
    for beat in (b"1", b"2"):
        storage.replace("_live/h.json", beat)
        assert storage.read("_live/h.json") == beat
    storage.remove("_live/h.json")
    storage.remove("_live/h.json")
    assert storage.read("_live/h.json") is None
    assert storage.names("_live") == []
    assert storage.create("_live/h.json", b"3")


def test_many_at_once(settings: Settings) -> None:
    storage = storage_of(settings)
    names = [f"many/{n}" for n in range(40)]
    for name in names[::2]:
        storage.create(name, name.encode())
    assert storage.read_all([]) == []
    assert storage.read_all(names) == [
        None if n % 2 else name.encode() for n, name in enumerate(names)
    ]
    paths = storage.locate_all(names[::2])
    assert [path.read_bytes() for path in paths] == [name.encode() for name in names[::2]]
    storage.remove_all(names[:38])
    assert storage.names("many") == ["many/38"]
    assert [path.is_file() for path in paths] == [False] * 19 + [True]


def test_listing_knows_folders_and_sizes(settings: Settings) -> None:
    storage = storage_of(settings)
    for name in ("f/b", "f/a", "f/deep/c", "g/d"):
        storage.create(name, name.encode())
    storage.temporary().write_bytes(b"half")
    assert storage.names("f") == ["f/a", "f/b"]
    assert storage.names("nothing") == []
    assert {(e.name, e.bytes) for e in storage.entries("f")} == {
        ("f/a", 3),
        ("f/b", 3),
        ("f/deep/c", 8),
    }
    assert {e.name for e in storage.entries()} == {"f/a", "f/b", "f/deep/c", "g/d"}
    assert all(e.modified_at.tzinfo is not None for e in storage.entries())


def test_a_long_listing_is_complete(settings: Settings) -> None:
    storage = storage_of(settings)
    for n in range(1_003):
        storage.replace(f"_shards/{n:04d}.json", b"{}")
    assert storage.names("_shards") == [f"_shards/{n:04d}.json" for n in range(1_003)]
    assert sum(1 for _ in storage.entries("_shards")) == 1_003
    storage.remove_all(storage.names("_shards"))
    assert storage.names("_shards") == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_no_name_leads_out(settings: Settings, name: str) -> None:
    storage = storage_of(settings)
    for use in (storage.locate, storage.read, storage.exists, storage.remove):
        with pytest.raises(ValueError, match="not a name inside the lake"):
            use(name)
    with pytest.raises(ValueError, match="not a name inside the lake"):
        storage.create(name, b"")


RACE = """
import json, sys, time
from pathlib import Path
from platemill.lake import open_lake
from platemill.settings import Settings
me, folder, home, url = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] or None
storage = open_lake(Settings(home=home, lake_url=url)).storage
storage.create(f"ready/{me}", b"")
(folder / f"ready-{me}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
won = [n for n in range(20) if storage.create(f"race/{n}", me.encode())]
print(json.dumps(won))
"""


def test_sixteen_processes_race_for_names(settings: Settings, tmp_path: Path) -> None:
    given = [str(tmp_path), str(settings.home), settings.lake_url or ""]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(me), *given], stdout=subprocess.PIPE, text=True
        )
        for me in range(16)
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(racers):
        assert all(racer.poll() is None for racer in racers)
    (tmp_path / "go").touch()
    won: dict[int, list[int]] = {}
    for me, racer in enumerate(racers):
        out, _ = racer.communicate(timeout=120)
        assert racer.returncode == 0
        for n in json.loads(out):
            won.setdefault(n, []).append(me)
    assert sorted(won) == list(range(20))
    assert all(len(winners) == 1 for winners in won.values())
    storage = storage_of(settings)
    for n, (winner,) in won.items():
        assert storage.read(f"race/{n}") == str(winner).encode()


CRASH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from small_lake import settings_for, stage
from platemill.lake import open_lake
from test_lake_s3_contract import PHOTOS
settings = settings_for(Path(sys.argv[2]), lake_url=sys.argv[3])
stage(open_lake(settings), PHOTOS, "dead")
"""


@pytest.mark.parametrize(("point", "hit"), [("bucket.upload.after", 2), ("bucket.create.after", 1)])
def test_a_worker_dies_between_upload_and_record(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, hit: int
) -> None:
    server.empty()
    point_at(monkeypatch, server.url)
    armed = tmp_path / "failpoints"
    armed.mkdir()
    (armed / f"{point}.json").write_text(json.dumps({"action": "kill", "hit": hit}))
    settings = settings_for(tmp_path / "home", lake_url=f"s3://{BUCKET}/lake")
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CRASH,
            str(here.parent / "support"),
            settings.home,
            settings.lake_url,
        ],
        env={**os.environ, "PLATEMILL_FAILPOINTS": str(armed), "PYTHONPATH": str(here)},
        check=False,
    )
    assert done.returncode == -9
    lake = open_lake(settings)
    (record,) = stage(lake, PHOTOS, "alive")
    assert record.attempt == ("alive" if point == "bucket.upload.after" else "dead")
    generation = night(settings, PHOTOS, "alive")
    assert generation.partitions("recognitions")[PHOTOS[0].day].rows == 1
    lake.sweep_shards([], keep=[record.key])
    assert lake.staged(record.key) == sorted([record.images_path, record.recognitions_path])


def test_a_large_file_goes_in_parts(bucket: S3Storage, tmp_path: Path, server: S3Server) -> None:
    small = S3Storage(bucket.url, tmp_path / "cache", single_bytes=20 << 20)
    data = os.urandom(21 << 20)
    assert put(small, "big", data)
    assert not put(small, "big", data)
    small.forget("big")
    assert small.locate("big").read_bytes() == data


def test_what_is_kept_here_can_be_forgotten(bucket: S3Storage) -> None:
    put(bucket, "a/b", b"12345")
    assert [(e.name, e.bytes) for e in bucket.cached()] == [("a/b", 5)]
    assert bucket.forget("a/b") == 5
    assert bucket.forget("a/b") == 0
    assert not list(bucket.cached())
    assert bucket.locate_all(["a/b", "a/b"])[0].read_bytes() == b"12345"
    bucket.remove("a/b")
    assert not list(bucket.cached())
    with pytest.raises(FileNotFoundError, match=f"{bucket.url}/a/b does not exist"):
        bucket.locate("a/b")


def test_lakes_in_one_bucket_do_not_meet(bucket: S3Storage, tmp_path: Path) -> None:
    other = S3Storage(f"s3://{BUCKET}/lake/2", tmp_path / "cache")
    whole = S3Storage(f"s3://{BUCKET}", tmp_path / "cache")
    for storage, data in ((bucket, b"1"), (other, b"2"), (whole, b"3")):
        assert storage.create("x", data)
    assert [storage.locate("x").read_bytes() for storage in (bucket, other, whole)] == [
        b"1",
        b"2",
        b"3",
    ]
    assert sorted(e.name for e in whole.entries()) == ["lake/2/x", "lake/x", "x"]


def test_a_missing_bucket_says_what_to_do(bucket: S3Storage, tmp_path: Path) -> None:
    missing = S3Storage("s3://not-there/lake", tmp_path / "cache")
    for use in (lambda: missing.create("a", b""), lambda: missing.names("a")):
        with pytest.raises(ConfigurationError, match=r"NoSuchBucket .*PLATEMILL_LAKE_URL"):
            use()


@pytest.mark.parametrize("url", ["s3://", "bucket/prefix", "gs://bucket/x"])
def test_a_wrong_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix would be one"):
        S3Storage(url, tmp_path)


def test_a_wrong_endpoint_says_what_to_do(
    bucket: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL if it is not S3 itself"):
        S3Storage(bucket.url, tmp_path / "cache")


def test_no_credentials_say_what_to_do(
    bucket: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="set AWS_ACCESS_KEY_ID"):
        S3Storage(bucket.url, tmp_path / "cache").names("a")


def test_a_store_that_ignores_the_condition_is_refused(
    bucket: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bucket._client
    put_object = client.put_object

    def forgetful(**given: Any) -> Any:
        given.pop("IfNoneMatch", None)
        return put_object(**given)

    bucket._link.conditional.clear()
    monkeypatch.setattr(client, "put_object", forgetful)
    with pytest.raises(ConfigurationError, match="ignores If-None-Match"):
        bucket.create("a", b"1")


def test_nobody_answers(bucket: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platemill.lake.trials._FIRST_PAUSE", 0.001)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = S3Storage(bucket.url, tmp_path / "cache")
    with pytest.raises(RetryableError, match=r"did not answer in 8 tries.*run again") as raised:
        away.create("a", b"1")
    assert raised.value.exit_code == 4
