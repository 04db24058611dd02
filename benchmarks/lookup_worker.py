"""The processes of ``lookups.py``: one fills the stores, the others answer, each in its way.

    python benchmarks/lookup_worker.py build|ours|feast|client FOLDER

They read a line of JSON and write one. ``ours`` never imports Feast, as a service that only looks
up does not.
"""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platemill.features.catalog import EntityKind, entity_named
from platemill.features.decode import decode_column, decode_list
from platemill.features.encode import encode_entity_keys, encode_timestamps, encode_values
from platemill.features.lookup import Lookup
from platemill.features.packed import Packed
from platemill.features.reader import EntityLayout, ViewLayout, entity_keys, entity_layout
from platemill.features.redis_target import Hashes
from platemill.features.resp import Wire, commands
from platemill.features.stamp import STAMP_KEY, Stamp, stamp_to_json, write_stamp
from platemill.schema import Column, Table
from platemill.settings import Settings, load_settings

CASES = ("ten", "plate_lookup_v1")
VARIANTS = ("ours-sqlite", "stock-sqlite", "ours-redis", "stock-redis")
PROJECT = "platemill"
NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
ASKED = 50
CHUNK = 20_000
Answer = Callable[[list[str]], Any]

TEN = Table(
    "ten_v1",
    "ten numbers of a probe",
    (
        Column("probe", pa.string(), "the probe"),
        *(Column(f"count_{n}", pa.int64(), "a count", "count", feature=True) for n in range(5)),
        *(Column(f"share_{n}", pa.float64(), "a share", "0 to 1", feature=True) for n in range(5)),
    ),
    key=("probe",),
    partition="day",
    entity="probe",
    ttl=timedelta(days=90),
)
PROBE = EntityKind("probe", "probe", "something that is probed", "ten")


def layout_of(case: str) -> EntityLayout:
    """Where the views of a case lie in a raw row."""
    if case != "ten":
        return entity_layout(entity_named("plate"))
    places: dict[pa.DataType, list[int]] = {}
    for place, column in enumerate(TEN.features, 1):
        places.setdefault(column.type, []).append(place)
    return EntityLayout(PROBE, (ViewLayout(TEN, 0, 1 + len(TEN.features)),), places)


def key(number: int) -> str:
    return f"A{number:06d}BC"


def values(column: Column, rows: int, rng: np.random.Generator) -> pa.Array:
    """Values as a tile has them: small counts, shares, times of a month, names of cameras."""
    kind = column.type
    if pa.types.is_list(kind):
        hours = 24
        flat = pa.array(rng.poisson(0.7, rows * hours), pa.int64())
        return pa.ListArray.from_arrays(
            pa.array(range(0, rows * hours + 1, hours), pa.int32()), flat
        )
    if pa.types.is_string(kind):
        return pa.array([f"camera-{number:04d}" for number in rng.integers(0, 5000, rows)])
    if pa.types.is_timestamp(kind):
        seconds = int(NOW.timestamp()) - rng.integers(0, 30 * 86400, rows)
        return pa.array(seconds * 1_000_000).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.random(rows)).cast(kind)
    return pa.array(rng.poisson(9, rows)).cast(kind)


# Filling the stores.


def build(folder: Path, entities: int) -> dict[str, Any]:
    from feast import FeatureStore

    settings = load_settings()
    settings.features.mkdir(parents=True)
    for variant in VARIANTS:
        write_configuration(folder, variant, settings)
    objects = feast_objects()
    for variant in ("ours-sqlite", "stock-sqlite"):
        FeatureStore(str(folder / variant)).apply(objects)
    stamp = Stamp(1, "bench", "bench", "bench", NOW, "bench")
    ours = sqlite3.connect(settings.features / "online_store.db")
    stock = sqlite3.connect(folder / "stock.db")
    client = redis_client(folder)
    wire = Wire(client)
    rng = np.random.default_rng(1)
    for case in CASES:
        layout = layout_of(case)
        for view in layout.views:
            names = tuple(column.name for column in view.table.features)
            packed = Packed(f"{PROJECT}_{view.table.name}", names)
            hashes = Hashes.of(PROJECT, view.table.name, names)
            for start in range(0, entities, CHUNK):
                rows = min(CHUNK, entities - start)
                texts = pa.array([key(start + row) for row in range(rows)])
                keys = encode_entity_keys(texts, layout.kind.join_key)
                columns = [
                    encode_values(values(column, rows, rng)) for column in view.table.features
                ]
                seconds = int(NOW.timestamp())
                lists = [column.to_pylist() for column in columns]
                times = [[seconds] * rows] * 2
                ours.executemany(
                    packed.insert(), zip(keys.to_pylist(), *times, *lists, strict=True)
                )
                for name, column in zip(names, lists, strict=True):
                    stock.executemany(
                        f'INSERT INTO "{packed.name}" (entity_key, feature_name, value, event_ts, '
                        "created_ts) VALUES (?, ?, ?, ?, ?)",
                        [
                            (entity, name, value, seconds, None)
                            for entity, value in zip(keys.to_pylist(), column, strict=True)
                        ],
                    )
                words: list[Any] = [
                    b"HSET",
                    pa.array([k + PROJECT.encode() for k in keys.to_pylist()]),
                ]
                for field, column in zip(hashes.features, columns, strict=True):
                    words += [field, column]
                event = encode_timestamps(pa.array([NOW] * rows, pa.timestamp("us", tz="UTC")))
                sent = commands(rows, *words, hashes.time, event)
                wire.send(sent.bytes_of(0, len(sent)))
                wire.receive_many(len(sent))
    for database in (ours, stock):
        database.commit()
        database.close()
    wire.close()
    client.set(STAMP_KEY, stamp_to_json(stamp))
    write_stamp(settings.features / "online_store.db", stamp)
    info = client.info()
    return {
        "versions": {"redis-server": info["redis_version"], "sqlite": sqlite3.sqlite_version},
        "bytes": {
            "sqlite": (settings.features / "online_store.db").stat().st_size,
            "stock sqlite": (folder / "stock.db").stat().st_size,
            "redis": info["used_memory"],
        },
    }


def feast_objects() -> list[Any]:
    """The deployment's definitions and those of the case of ten numbers, made by the same rules."""
    from feast import Entity, FeatureService, ValueType

    from platemill.features.definitions import _view, definitions

    probe = Entity(name="probe", join_keys=["probe"], value_type=ValueType.STRING)
    view = _view(TEN, {"probe": probe})
    # The schema does not know it, so that it would be for training sets alone.
    view.online = True
    return [*definitions().values(), probe, view, FeatureService(name="ten", features=[view])]


def write_configuration(folder: Path, variant: str, settings: Settings) -> None:
    """``feature_store.yaml`` of a variant; all but the online store is the deployment's own."""
    import yaml

    owner, kind = variant.split("-")
    own = settings.project / "feature_repo"
    text = (own / ("feature_store.yaml" if kind == "sqlite" else "redis.yaml")).read_text()
    port = (folder / "redis.port").read_text()
    text = text.replace("${PLATEMILL_HOME}", str(settings.home))
    text = text.replace("${PLATEMILL_ONLINE_URL}", f"redis://127.0.0.1:{port}/0")
    written = yaml.safe_load(text)
    if owner == "stock":
        written["online_store"] = (
            {"type": "sqlite", "path": str(folder / "stock.db")}
            if kind == "sqlite"
            else {"type": "redis", "connection_string": f"127.0.0.1:{port}"}
        )
    (folder / variant).mkdir()
    (folder / variant / "feature_store.yaml").write_text(yaml.safe_dump(written))


def redis_client(folder: Path) -> Any:
    import redis

    return redis.Redis(port=int((folder / "redis.port").read_text()), protocol=2)


# The ways.


class Ours:
    """Without Feast: the bytes alone, rows and tables."""

    def __init__(self, folder: Path) -> None:
        port = (folder / "redis.port").read_text()
        settings = load_settings()
        online = {"sqlite": None, "redis": f"redis://127.0.0.1:{port}/0"}
        self._lookups = {
            store: Lookup(settings.model_copy(update={"online_url": url}))
            for store, url in online.items()
        }
        self._database = sqlite3.connect(settings.features / "online_store.db")
        self._redis = redis_client(folder)

    def way(self, case: str, store: str, way: str) -> Answer:
        layout, look_up = layout_of(case), self._lookups[store]
        if way == "rows":
            return lambda keys: look_up._rows(layout, keys, False)
        if way == "table":
            return lambda keys: look_up._table(layout, keys, False)
        return self._raw_sqlite(layout) if store == "sqlite" else self._raw_redis(layout)

    def _raw_sqlite(self, layout: EntityLayout) -> Answer:
        def read(keys: list[str]) -> list[Any]:
            asked = entity_keys(layout, keys)
            marks = ", ".join("?" * len(asked))
            return [
                self._database.execute(
                    f"SELECT * FROM packed_{PROJECT}_{view.table.name} "
                    f"WHERE entity_key IN ({marks})",
                    asked,
                ).fetchall()
                for view in layout.views
            ]

        return read

    def _raw_redis(self, layout: EntityLayout) -> Answer:
        fields: list[bytes] = []
        for view in layout.views:
            names = [column.name for column in view.table.features]
            fields += Hashes.of(PROJECT, view.table.name, names).fields

        def read(keys: list[str]) -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for entity in entity_keys(layout, keys):
                    pipe.hmget(entity + PROJECT.encode(), fields)
                return list(pipe.execute())

        return read

    def said(self, answer: Any) -> dict[str, list[Any]]:
        rows = answer.to_pylist() if isinstance(answer, pa.Table) else answer
        return {name: [row[name] for row in rows] for name in rows[0] if "__" in name}

    def parts(self, case: str, store: str, way: str, keys: list[str]) -> dict[str, float]:
        layout, look_up = layout_of(case), self._lookups[store]
        decode: Any = decode_list if way == "rows" else decode_column
        found = look_up._ask(layout, keys, False)
        answer = self.way(case, store, way)
        return parts_of(
            way,
            {
                "read": lambda: look_up._reader.read(layout, keys),
                "ages": lambda: look_up._ask(layout, keys, False),
                "decode": lambda: (look_up._ask(layout, keys, False), found.decoded(decode)),
            },
            lambda: answer(keys),
        )


class InFeast:
    """Feast's API in this process."""

    def __init__(self, folder: Path) -> None:
        from feast import FeatureStore

        self._stores = {name: FeatureStore(str(folder / name)) for name in VARIANTS}

    def way(self, case: str, store: str, way: str) -> Answer:
        opened = self._stores[f"{'stock' if way == 'stock' else 'ours'}-{store}"]
        service = opened.get_feature_service(case)
        join_key = layout_of(case).kind.join_key
        return lambda keys: opened.get_online_features(
            features=service,
            entity_rows=[{join_key: key} for key in keys],
            full_feature_names=True,
        ).to_dict()

    def said(self, answer: Any) -> dict[str, list[Any]]:
        return {name: column for name, column in answer.items() if "__" in name}

    def parts(self, case: str, store: str, way: str, keys: list[str]) -> dict[str, float]:
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        opened = self._stores[f"ours-{store}"]
        service = opened.get_feature_service(case)
        online = opened._get_provider().online_store
        views = [opened.get_feature_view(view.table.name) for view in layout_of(case).views]
        name = layout_of(case).kind.join_key
        asked = [EntityKey(join_keys=[name], entity_values=[Value(string_val=key)]) for key in keys]
        rows = [{name: key} for key in keys]
        answer = self.way(case, store, way)
        return parts_of(
            "to_dict",
            {
                "store": lambda: [online.online_read(opened.config, v, asked) for v in views],
                "Feast's API": lambda: opened.get_online_features(
                    service, rows, full_feature_names=True
                ),
            },
            lambda: answer(keys),
        )


class Client:
    """Over the wire."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def way(self, case: str, store: str, way: str) -> Answer:
        variant = f"{'stock' if way.startswith('stock') else 'ours'}-{store}"
        kind = way.split()[-1]
        port = int((self._folder / f"{kind}-{variant}.port").read_text())
        layout = layout_of(case)
        names = [
            f"{view.table.name}:{column.name}"
            for view in layout.views
            for column in view.table.features
        ]
        asked = case if way.startswith("service") else names
        return (self._http if kind == "http" else self._grpc)(asked, layout.kind.join_key, port)

    def _http(self, asked: str | list[str], join_key: str, port: int) -> Answer:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", port)
        what = {"feature_service": asked} if isinstance(asked, str) else {"features": asked}

        def exchange(body: str) -> bytes:
            headers = {"Content-Type": "application/json"}
            try:
                connection.request("POST", "/get-online-features", body, headers)
                return connection.getresponse().read()
            except ConnectionError:
                # The server let go of it while other ways were measured.
                connection.close()
                connection.request("POST", "/get-online-features", body, headers)
                return connection.getresponse().read()

        def ask(keys: list[str]) -> Any:
            body = {**what, "entities": {join_key: keys}, "full_feature_names": True}
            answer = json.loads(exchange(json.dumps(body)))
            names = answer["metadata"]["feature_names"]
            return {
                name: result["values"]
                for name, result in zip(names, answer["results"], strict=True)
            }

        return ask

    def _grpc(self, asked: str | list[str], join_key: str, port: int) -> Answer:
        import grpc
        from feast.protos.feast.serving.GrpcServer_pb2_grpc import GrpcFeatureServerStub
        from feast.protos.feast.serving.ServingService_pb2 import (
            FeatureList,
            GetOnlineFeaturesRequest,
        )
        from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

        largest = 256 << 20
        channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.max_receive_message_length", largest)]
        )
        stub = GrpcFeatureServerStub(channel)
        what: dict[str, Any] = (
            {"feature_service": asked}
            if isinstance(asked, str)
            else {"features": FeatureList(val=asked)}
        )

        def ask(keys: list[str]) -> Any:
            given = RepeatedValue(val=[Value(string_val=key) for key in keys])
            request = GetOnlineFeaturesRequest(
                entities={join_key: given}, full_feature_names=True, **what
            )
            return stub.GetOnlineFeatures(request)

        return ask

    def said(self, answer: Any) -> dict[str, list[Any]]:
        if not isinstance(answer, dict):
            from feast.online_response import OnlineResponse

            answer = OnlineResponse(answer).to_dict()
        return {name: column for name, column in answer.items() if "__" in name}


def plain(value: Any) -> Any:
    """A value in the form that all ways can be compared in: times as seconds, shares rounded."""
    if isinstance(value, datetime):
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return int(aware.timestamp())
    if isinstance(value, str) and value[:2] == "20" and value.endswith("Z"):
        return plain(datetime.fromisoformat(value))
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def parts_of(
    last: str, steps: dict[str, Callable[[], Any]], whole: Callable[[], Any], times: int = 25
) -> dict[str, float]:
    """What each step adds to the one before, in milliseconds: medians of calls that take turns."""
    calls = {**steps, last: whole}
    for call in calls.values():
        call()
    taken = [[timed(call) * 1000 for call in calls.values()] for _ in range(times)]
    until = [statistics.median(column) for column in zip(*taken, strict=True)]
    added = [now - before for before, now in zip([0.0, *until], until, strict=False)]
    return {**dict(zip(calls, added, strict=True)), "all": until[-1]}


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    answer = call()
    taken = time.perf_counter() - start
    del answer
    return taken


def sampled(answer: Answer, keys: int, samples: int, entities: int, seed: int) -> list[float]:
    generator = random.Random(f"{seed} {keys}")
    drawn = [
        [key(number) for number in generator.sample(range(entities), min(keys, entities))]
        for _ in range(samples)
    ]
    for some in drawn[:3]:
        answer(some)
    return [timed(lambda some=some: answer(some)) for some in drawn]  # type: ignore[misc]


def lines() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def main(kind: str, folder: Path) -> None:
    count = folder / "entities"
    worker: Any = None
    ways: dict[Sequence[str], Answer] = {}
    for asked in lines():
        if kind == "build":
            count.write_text(str(asked["entities"]))
            print(json.dumps(build(folder, asked["entities"])), flush=True)
            continue
        worker = worker or {"ours": Ours, "feast": InFeast, "client": Client}[kind](folder)
        entities = int(count.read_text())
        name = (asked["case"], asked["store"], asked["way"])
        if name not in ways:
            ways[name] = worker.way(*name)
        if asked.get("check"):
            keys = [key(number) for number in (*range(min(ASKED, entities)), entities + 1)]
            said = worker.said(ways[name](keys))
            answer: Any = {feature: plain(column) for feature, column in said.items()}
        elif asked.get("parts"):
            drawn = random.Random(1).sample(range(entities), min(asked["keys"], entities))
            answer = {"milliseconds": worker.parts(*name, [key(number) for number in drawn])}
        else:
            answer = sampled(ways[name], asked["keys"], asked["samples"], entities, asked["seed"])
        assert kind != "ours" or "feast" not in sys.modules
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
