"""Lookups from real stores, SQLite and Redis: what is true now, of one night, and how old it is."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from small_lake import Photo, at, draft_night, later, settings_for
from typer.testing import CliRunner

from platemill.cli import app
from platemill.errors import ConfigurationError, FeatureUnreadable, ServerUnavailable
from platemill.features.catalog import OFFLINE_VIEWS, VIEWS, entity_named
from platemill.features.freshness import MISSING, Freshness, Status, freshness_of
from platemill.features.lookup import Lookup, lookup
from platemill.features.online import finish_online, stage_online
from platemill.features.store import ONLINE_FILE, open_store
from platemill.settings import Settings
from platemill.warehouse.publish import publish

A = Photo("file:///c1/a.jpg", "c1", at("2026-05-01 10:00:01.25"), (("A001AA77", 0.9), ("", 0.4)))
B = Photo("file:///c2/b.jpg", "c2", at("2026-05-06 11:00"), (("B002BB77", 0.8),))
BROKEN = Photo("file:///c3/x.jpg", "c3", at("2026-05-01 14:00"), reason="truncated")
DAY_TTL = timedelta(days=90)
DAY_END = at("2026-05-02 00:00")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        return settings_for(tmp_path)
    server = request.getfixturevalue("redis")
    with closing(server.client()) as client:
        client.flushall()
    return settings_for(tmp_path, online_url=f"redis://{server.connection_string}/0")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A night in SQLite. Not to be changed."""
    settings = settings_for(tmp_path_factory.mktemp("published"))
    publish_night(settings, [A], 0)
    return settings


@pytest.fixture
def copied(published: Settings, tmp_path: Path) -> Settings:
    """The same, to be changed."""
    shutil.copytree(published.home, tmp_path / "home", symlinks=True)
    return settings_for(tmp_path / "home")


def publish_night(settings: Settings, photos: list[Photo], number: int) -> None:
    draft = draft_night(settings, photos, f"r{number}", now=later(number))
    stage_online(settings, draft)
    publish(settings, draft)
    assert finish_online(settings)


def clock_at(time: datetime) -> Callable[[], float]:
    return time.timestamp


def features(row: dict[str, Any], view: str) -> dict[str, Any]:
    prefix = f"{view}__"
    return {name[len(prefix) :]: value for name, value in row.items() if name.startswith(prefix)}


def test_rows_and_table_say_what_feast_says(settings: Settings) -> None:
    crowd = [
        replace(B, uri=f"file:///c2/{n}.jpg", plates=((f"C{n:03d}CC77", 0.5 + n / 1000),))
        for n in range(40)
    ]
    publish_night(settings, [A, B, BROKEN, *crowd], 0)
    # The clock of Feast's API is the machine's; ours stands still, so that ages do.
    look_up = Lookup(settings, clock=clock_at(datetime.now(UTC)))
    store = open_store(settings)
    asked = {
        "plate": ["A001AA77", "Z999ZZ99", *(f"C{n:03d}CC77" for n in range(40)), "A001AA77"],
        "camera": ["c1", "c2", "c3", "c4"],
        "image": [A.content, B.content, BROKEN.content, "none"],
    }
    for entity, keys in asked.items():
        kind = entity_named(entity)
        for some in (keys, keys[:1]):
            rows = look_up(entity, some)
            answer = store.get_online_features(
                features=store.get_feature_service(kind.service),
                entity_rows=[{kind.join_key: key} for key in some],
                full_feature_names=True,
            ).to_dict()
            assert [row["key"] for row in rows] == some
            for name, values in answer.items():
                if name != kind.join_key:
                    assert [in_utc(value) for value in values] == [row[name] for row in rows], name
            table = look_up.table(entity, some)
            plain = [
                {**row, "views": {view: asdict(age) for view, age in row["views"].items()}}
                for row in rows
            ]
            assert table.to_pylist() == plain
            for view in VIEWS:
                if view.entity == kind.join_key:
                    for column in view.features:
                        assert table.schema.field(f"{view.name}__{column.name}").type == column.type
    assert look_up("plate", []) == []
    assert look_up.table("plate", []).num_rows == 0
    assert look_up.table("plate", []).schema == look_up.table("plate", ["A001AA77"]).schema


def in_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def test_more_keys_than_one_statement_takes(settings: Settings) -> None:
    publish_night(settings, [A, B], 0)
    keys = [f"X{n:04d}" for n in range(2500)]
    keys[7] = keys[1030] = keys[2499] = "A001AA77"
    keys[1023] = keys[1024] = "B002BB77"
    look_up = Lookup(settings, clock=clock_at(DAY_END))
    rows = look_up("plate", keys)
    assert [row["key"] for row in rows] == keys
    found = {
        place: row["plate_day_v1__last_camera"] for place, row in enumerate(rows) if row["found"]
    }
    assert found == {7: "c1", 1023: "c2", 1024: "c2", 1030: "c1", 2499: "c1"}
    assert look_up.table("plate", keys)["found"].to_pylist() == [row["found"] for row in rows]


def test_an_expired_value_is_never_passed_off_as_current(settings: Settings) -> None:
    publish_night(settings, [A], 0)
    ages: dict[str, float] = {"now": 0.0}
    look_up = Lookup(settings, clock=lambda: ages["now"])

    # Its month is not over yet, its day is.
    ages["now"] = (DAY_END + timedelta(hours=1)).timestamp()
    [row] = look_up("plate", ["A001AA77"])
    assert row["found"]
    assert row["views"]["plate_day_v1"] == Freshness(Status.CURRENT, DAY_END, 3600)
    assert row["views"]["plate_month_v1"].age_seconds == 0
    assert (row["event_timestamp"], row["age_seconds"]) == (at("2026-06-01 00:00"), 0)
    assert (row["generation"], row["published_at"]) == (1, later(0))

    # To the last instant of its time to live it answers.
    for over, status in ((0.0, Status.CURRENT), (0.001, Status.EXPIRED), (86400.0, Status.EXPIRED)):
        ages["now"] = (DAY_END + DAY_TTL).timestamp() + over
        [row] = look_up("plate", ["A001AA77"])
        assert row["views"]["plate_day_v1"].status == status
        assert (row["plate_day_v1__sightings"] == 1) == (status is Status.CURRENT)
        assert row["plate_month_v1__sightings"] == 1
        assert row["found"]
    assert set(features(row, "plate_day_v1").values()) == {None}
    assert row["views"]["plate_day_v1"].age_seconds == 91 * 86400

    # Asked for, it is shown, and marked all the same.
    [row] = look_up("plate", ["A001AA77"], include_expired=True)
    assert row["plate_day_v1__sightings"] == 1
    assert row["views"]["plate_day_v1"].status == Status.EXPIRED

    # When all is over, nothing is found, and when it was is still said.
    ages["now"] = at("2040-01-01 00:00").timestamp()
    [row] = look_up("plate", ["A001AA77"])
    assert not row["found"]
    assert (row["event_timestamp"], row["age_seconds"]) == (None, None)
    assert {value for name, value in row.items() if "__" in name} == {None}
    assert {age.status for age in row["views"].values()} == {Status.EXPIRED}
    [row] = look_up("plate", ["A001AA77"], include_expired=True)
    assert not row["found"]
    assert row["event_timestamp"] == at("2026-06-01 00:00")
    assert row["plate_month_v1__sightings"] == 1

    # Among many, each for itself; a key that was never seen is missing, not expired.
    ages["now"] = (DAY_END + DAY_TTL).timestamp() + 1
    rows = look_up("plate", ["A001AA77", "Z999ZZ99"] * 60)
    for row in rows:
        known = row["key"] == "A001AA77"
        assert row["plate_day_v1__sightings"] is None
        assert (row["plate_week_v1__sightings"] == 1) == known
        assert (row["views"]["plate_day_v1"] == MISSING) != known
    table = look_up.table("plate", ["A001AA77", "Z999ZZ99"])
    assert table["plate_day_v1__sightings"].null_count == 2
    assert table["views"].to_pylist()[0]["plate_day_v1"]["status"] == "expired"


def test_feasts_api_over_our_stores_does_not_answer_with_expired_values(
    settings: Settings,
) -> None:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    now = datetime.now(UTC)
    old = replace(A, captured_at=now - timedelta(days=120))
    publish_night(settings, [old], 0)
    store = open_store(settings)
    proto = store.get_online_features(
        features=["plate_day_v1:sightings", "plate_month_v1:sightings"],
        entity_rows=[{"plate": "A001AA77"}, {"plate": "Z999ZZ99"}],
        full_feature_names=True,
    ).proto
    results = dict(zip(proto.metadata.feature_names.val, proto.results, strict=True))
    day, month = results["plate_day_v1__sightings"], results["plate_month_v1__sightings"]
    assert FieldStatus.PRESENT not in day.statuses
    assert [value.WhichOneof("val") for value in day.values] == [None, None]
    assert month.statuses[0] == FieldStatus.PRESENT
    assert month.statuses[1] != FieldStatus.PRESENT


def test_every_answer_is_one_nights_and_says_which(settings: Settings) -> None:
    """Nights are published while somebody asks: night n has n sightings of each plate."""
    plates = [f"P{n:03d}PP77" for n in range(60)]

    def photo(night: int) -> Photo:
        seen = tuple((plate, 0.9) for plate in plates)
        return Photo(f"file:///c1/{night}.jpg", "c1", at(f"2026-05-01 {night:02d}:00"), seen)

    publish_night(settings, [photo(1)], 1)
    look_up = Lookup(settings, clock=clock_at(DAY_END))
    stop = threading.Event()
    wrong: list[Any] = []
    seen: set[int] = set()

    def ask() -> None:
        while not stop.wait(0.005):
            for row in look_up("plate", plates):
                seen.add(row["generation"])
                if row["plate_day_v1__sightings"] != row["generation"]:
                    wrong.append((row["generation"], row["plate_day_v1__sightings"]))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for night in (2, 3, 4):
            publish_night(settings, [photo(night)], night)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(seen) > 1
    assert look_up("plate", plates[:1])[0]["generation"] == 4


def test_nothing_published_is_said(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="nothing is published in"):
        lookup(settings, "plate", ["A001AA77"])


def test_what_cannot_be_asked_is_said(published: Settings) -> None:
    with Lookup(published) as look_up:
        with pytest.raises(ConfigurationError, match="there are: plate, camera, image"):
            look_up("driver", ["x"])
        with pytest.raises(ConfigurationError, match="a list of texts, not one text"):
            look_up("plate", "A001AA77")
        with pytest.raises(ConfigurationError, match="not text in UTF-8"):
            look_up("plate", ["A\udcff"])


def test_a_store_that_is_taken_away_is_said(copied: Settings) -> None:
    look_up = Lookup(copied, clock=clock_at(DAY_END))
    (copied.features / ONLINE_FILE).unlink()
    with pytest.raises(ConfigurationError, match="nothing is published in"):
        look_up("plate", ["A001AA77"])
    assert finish_online(copied)
    assert look_up("plate", ["A001AA77"])[0]["found"]


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (
            "UPDATE packed_platemill_plate_day_v1 SET sightings = x'20ff'",
            FeatureUnreadable,
            "no value of type int64",
        ),
        (
            "UPDATE packed_platemill_plate_day_v1 SET sightings = x'1201ff'",
            FeatureUnreadable,
            "no value of type int64",
        ),
        (
            "ALTER TABLE packed_platemill_plate_day_v1 RENAME COLUMN sightings TO seen",
            ConfigurationError,
            "a platemill with other features",
        ),
        (
            "DROP VIEW platemill_plate_day_v1; DROP TABLE packed_platemill_plate_day_v1",
            ConfigurationError,
            "a platemill with other features",
        ),
        ("DROP TABLE platemill_generation", ConfigurationError, "nothing is published in"),
    ],
)
def test_a_spoilt_file_gives_no_values(
    copied: Settings, spoil: str, error: type[Exception], text: str
) -> None:
    with closing(sqlite3.connect(copied.features / ONLINE_FILE)) as database, database:
        if "RENAME" in spoil:
            database.execute("DROP VIEW platemill_plate_day_v1")
        for statement in spoil.split(";"):
            database.execute(statement)
    with pytest.raises(error, match=text):
        lookup(copied, "plate", ["A001AA77"], clock=clock_at(DAY_END))


def test_a_file_that_is_no_database_is_said(copied: Settings) -> None:
    path = copied.features / ONLINE_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    with pytest.raises(ConfigurationError, match="damaged"):
        lookup(copied, "plate", ["A001AA77"])


def test_redis_comes_and_goes(tmp_path: Path) -> None:
    with RedisServer() as server:
        settings = settings_for(tmp_path, online_url=f"redis://{server.connection_string}/0")
        publish_night(settings, [A], 0)
        look_up = Lookup(settings, clock=clock_at(DAY_END))
        assert look_up("plate", ["A001AA77"])[0]["found"]
        with closing(server.client()) as client:
            # An idle connection that the server let go of is replaced.
            client.client_kill_filter(_type="normal", skipme=True)
        assert look_up("plate", ["A001AA77"])[0]["found"]
        with closing(server.client()) as client:
            [name] = list(client.scan_iter(match=b"*A001AA77platemill"))
            client.hset(name, "_ts:plate_day_v1", b"\xff")
        with pytest.raises(FeatureUnreadable, match="no Timestamp"):
            look_up("plate", ["A001AA77"])
        server.stop()
        with pytest.raises(ServerUnavailable, match="does not answer"):
            look_up("plate", ["A001AA77"])
        server.restart()
        with pytest.raises(ConfigurationError, match="nothing is published in"):
            look_up("plate", ["A001AA77"])
        assert finish_online(settings)
        assert look_up("plate", ["A001AA77"])[0]["found"]


def test_a_lookup_does_not_wait_for_feast(settings: Settings) -> None:
    publish_night(settings, [A], 0)
    code = (
        "import sys\n"
        "from platemill.features.lookup import lookup\n"
        "from platemill.settings import load_settings\n"
        "[row] = lookup(load_settings(), 'plate', ['A001AA77'], include_expired=True)\n"
        "assert row['plate_day_v1__sightings'] == 1\n"
        "assert not {'feast', 'pandas', 'ibis'} & set(sys.modules), sorted(sys.modules)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", code], env={**environment, **settings.environment()}, check=True
    )


def test_the_command_says_how_old_an_answer_is(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    now = datetime.now(UTC)
    old = replace(A, captured_at=now - timedelta(days=120))
    fresh = replace(B, captured_at=now - timedelta(seconds=1))
    publish_night(settings, [old, fresh], 0)
    asked = ["lookup", "--home", str(settings.home), "plate", "A001AA77", "B002BB77", "Z999ZZ99"]

    said = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert said.exit_code == 0, said.output
    assert f"generation 1, published {later(0):%Y-%m-%d %H:%M:%S} UTC" in said.stdout
    [day] = [line for line in said.stdout.splitlines() if line.startswith(" plate_day_v1")]
    assert re.search(r"expired, 1[12]\d d \d+ h old +current, period not over +missing", day)
    assert "--include-expired shows them" in said.stderr
    shown = CliRunner().invoke(app, [*asked, "--include-expired"], env={"COLUMNS": "200"})
    assert "--include-expired" not in shown.stderr

    answer = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    a, b, z = answer["rows"]
    assert [row["found"] for row in (a, b, z)] == [True, True, False]
    assert a["plate_day_v1__sightings"] is None
    assert a["views"]["plate_day_v1"]["status"] == "expired"
    assert a["views"]["plate_day_v1"]["age_seconds"] > 110 * 86400
    assert (b["generation"], b["age_seconds"], b["plate_day_v1__sightings"]) == (1, 0, 1)
    assert z["views"]["plate_day_v1"] == {
        "status": "missing",
        "event_timestamp": None,
        "age_seconds": None,
    }


@pytest.mark.parametrize("table", (*VIEWS, *OFFLINE_VIEWS), ids=lambda table: table.name)
def test_every_view_has_a_time_to_live(table: Any) -> None:
    assert table.ttl is not None
    assert table.ttl > timedelta(0)


def test_an_event_to_come_is_of_now() -> None:
    seconds = int(DAY_END.timestamp())
    assert freshness_of(seconds, DAY_TTL, seconds - 3600.5) == Freshness(Status.CURRENT, DAY_END, 0)
    assert freshness_of(seconds, DAY_TTL, seconds + 59.9).age_seconds == 59
