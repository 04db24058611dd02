"""``feature_repo/`` with Feast's own commands, as anybody has them: apply, serve, listen and ui."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast_process import feast, feast_servers
from redis_server import RedisServer
from small_lake import Photo, draft_night, settings_for

from platemill.features.catalog import ENTITIES, SERVICES, VIEWS, references, service_named
from platemill.features.lookup import lookup
from platemill.features.online import finish_online, stage_online
from platemill.features.store import open_store
from platemill.settings import Settings
from platemill.warehouse.publish import publish

NOW = datetime.now(UTC).replace(microsecond=0)
# Its day's features are of the past; its week's and month's still answer.
OLD = Photo("file:///c1/old.jpg", "c1", NOW - timedelta(days=120), (("A001AA77", 0.9),))
NEW = Photo("file:///c2/new.jpg", "c2", NOW - timedelta(days=2), (("B002BB77", 0.8),))
KEYS = ["A001AA77", "B002BB77", "Z999ZZ99"]
SERVE = ["serve", "-h", "127.0.0.1", "-p", "{port}", "--no-access-log"]
LISTEN = ["listen", "-a", "127.0.0.1:{port}"]
UI = ["ui", "-h", "127.0.0.1", "-p", "{port}"]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Settings]]:
    """Homes with a published night, by their online store."""
    with RedisServer() as server:
        url = f"redis://{server.connection_string}/0"
        yield {
            "sqlite": published(settings_for(tmp_path_factory.mktemp("sqlite"))),
            "redis": published(settings_for(tmp_path_factory.mktemp("redis"), online_url=url)),
        }


def published(settings: Settings) -> Settings:
    draft = draft_night(settings, [OLD, NEW])
    stage_online(settings, draft)
    publish(settings, draft)
    assert finish_online(settings)
    return settings


@pytest.fixture(scope="module")
def ports(
    homes: dict[str, Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    commands = {
        "serve-sqlite": (homes["sqlite"], SERVE),
        "serve-redis": (homes["redis"], SERVE),
        "listen-sqlite": (homes["sqlite"], LISTEN),
        "listen-redis": (homes["redis"], LISTEN),
        "ui": (homes["sqlite"], UI),
    }
    with feast_servers(tmp_path_factory.mktemp("logs"), commands) as ports:
        yield ports


def ask(url: str, body: object = None) -> bytes:
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def test_apply_into_an_empty_home_registers_the_schema(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "features").mkdir(parents=True)
    settings = settings_for(home)
    said = feast(settings, "apply")
    store = open_store(settings)
    for table in VIEWS:
        assert table.name in said
        view = store.get_feature_view(table.name)
        assert (view.description, view.owner, view.ttl) == (
            table.description,
            table.owner,
            table.ttl,
        )
        fields = {field.name: field for field in view.features}
        assert list(fields) == [column.name for column in table.features]
        for column in table.features:
            assert fields[column.name].description == column.description
            assert fields[column.name].tags["unit"] == (column.unit or "none")
    assert [entity.name for entity in ENTITIES] == [
        store.get_entity(entity.name).name for entity in ENTITIES
    ]
    for service in SERVICES:
        assert store.get_feature_service(service.name).description == service.description


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_apply_leaves_a_published_night_as_it_is(
    homes: dict[str, Settings], kind: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(homes[kind].home, home, symlinks=True)
    copied = homes[kind].model_copy(update={"home": home})
    before = lookup(copied, "plate", KEYS)
    assert [row["found"] for row in before] == [True, True, False]
    feast(copied, "apply")
    assert without_ages(lookup(copied, "plate", KEYS)) == without_ages(before)


def without_ages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in ("age_seconds", "views")}
        for row in rows
    ]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_serve_answers_over_http(
    homes: dict[str, Settings], kind: str, ports: dict[str, int]
) -> None:
    body = {
        "feature_service": "plate_lookup_v1",
        "entities": {"plate": KEYS},
        "full_feature_names": True,
    }
    answer = json.loads(ask(f"http://127.0.0.1:{ports[f'serve-{kind}']}/get-online-features", body))
    names = answer["metadata"]["feature_names"]
    columns = dict(zip(names, answer["results"], strict=True))
    rows = lookup(homes[kind], "plate", KEYS)
    for name, column in columns.items():
        if name == "plate":
            continue
        for row, value, status in zip(rows, column["values"], column["statuses"], strict=True):
            view, _, _ = name.partition("__")
            current = row["views"][view].status == "current"
            assert (status == "PRESENT") == current, (name, row["key"], status)
            if current and isinstance(row[name], int | str):
                assert value == row[name]
            if not current:
                assert value is None
    # A's day is expired, its month is not.
    assert columns["plate_day_v1__sightings"]["values"] == [None, 1, None]
    assert columns["plate_month_v1__sightings"]["values"] == [1, 1, None]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_listen_answers_over_grpc(
    homes: dict[str, Settings], kind: str, ports: dict[str, int]
) -> None:
    import grpc
    from feast.protos.feast.serving.GrpcServer_pb2_grpc import GrpcFeatureServerStub
    from feast.protos.feast.serving.ServingService_pb2 import (
        FeatureList,
        FieldStatus,
        GetOnlineFeaturesRequest,
    )
    from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

    keys = {"plate": RepeatedValue(val=[Value(string_val=key) for key in KEYS])}
    request = GetOnlineFeaturesRequest(
        feature_service="plate_lookup_v1", entities=keys, full_feature_names=True
    )
    names = FeatureList(val=references(service_named("plate_lookup_v1")))
    by_names = GetOnlineFeaturesRequest(features=names, entities=keys, full_feature_names=True)
    with grpc.insecure_channel(f"127.0.0.1:{ports[f'listen-{kind}']}") as channel:
        stub = GrpcFeatureServerStub(channel)
        answer = stub.GetOnlineFeatures(request, timeout=60)
        same = stub.GetOnlineFeatures(by_names, timeout=60)
    results = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
    assert dict(zip(same.metadata.feature_names.val, same.results, strict=True)) == results
    rows = lookup(homes[kind], "plate", KEYS)
    assert any(row["plate_week_v1__last_camera"] for row in rows)
    column = results["plate_week_v1__last_camera"]
    assert [value.string_val or None for value in column.values] == [
        row["plate_week_v1__last_camera"] for row in rows
    ]
    day = results["plate_day_v1__sightings"]
    assert [value.int64_val for value in day.values] == [0, 1, 0]
    assert [status == FieldStatus.PRESENT for status in day.statuses] == [False, True, False]


def test_ui_shows_the_descriptions_offline(ports: dict[str, int]) -> None:
    url = f"http://127.0.0.1:{ports['ui']}"
    page = ask(url).decode()
    assert '<div id="root">' in page
    assert "https://" not in page, "the page wants something from elsewhere"
    views = ask(f"{url}/api/v1/feature_views?project=platemill&limit=100").decode()
    services = ask(f"{url}/api/v1/feature_services?project=platemill&limit=100").decode()
    for table in VIEWS:
        assert table.description in views
        for column in table.features:
            assert json.dumps(column.description)[1:-1] in views or column.description in views
    for service in SERVICES:
        assert service.description in services
