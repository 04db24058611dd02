"""Write the same rows into an online store by stock Feast and by platemill, side by side.

    python benchmarks/materialise.py --rows 20000
    python benchmarks/materialise.py --rows 1000000 --out materialise.json

A month of plates, a row a key with ten features, lies as one Parquet file. Stock Feast writes it as
it comes: ``store.materialize`` with its file source, into its SQLite and its Redis store. platemill
writes it by the way that a night goes, from the tile's file to the store, and compares it with the
file, which is timed apart. Each is a process of its own; importing is not timed. Afterwards Feast's
own stores read a sample of both, and the bytes that lie in both are compared. Then a night that
changes one key of a hundred is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = Path(__file__).resolve().parents[1]
MONTH = date(2026, 5, 1)
END = datetime(2026, 6, 1, tzinfo=UTC)
KNOWN = datetime(2026, 6, 1, 3, tzinfo=UTC)
VIEW = "plate_bench_v1"
TIME = pa.timestamp("us", tz="UTC")
FEATURES: dict[str, pa.DataType] = {
    "sightings": pa.int64(),
    "cameras": pa.int64(),
    "days_seen": pa.int64(),
    "first_seen": TIME,
    "last_seen": TIME,
    "first_camera": pa.string(),
    "last_camera": pa.string(),
    "confidence_max": pa.float32(),
    "confidence_mean": pa.float64(),
    "gap_mean_seconds": pa.float64(),
}
SAMPLE = 1000
GOAL, LEAST = 10.0, 5.0


def rows_of(count: int, *, changed: bool) -> pa.Table:
    """``count`` keys and ten features; changed: one of a hundred says something else."""
    random = np.random.default_rng(1)
    first = int(END.timestamp()) - 31 * 86400 + random.integers(0, 15 * 86400, count)
    last = first + random.integers(0, 15 * 86400, count)
    sightings = random.integers(1, 500, count)
    cameras = pa.array([f"camera-{number:03}" for number in range(500)])
    gaps = pa.array(random.random(count) * 1e5, pa.float64(), mask=sightings == 1)
    if changed:
        sightings = sightings + (np.arange(count) % 100 == 0)
    columns = {
        "plate": pa.array([f"P{number:07}" for number in range(count)]),
        "month": pa.array([MONTH] * count),
        "pipeline_version": pa.array(["p1"] * count),
        "sightings": pa.array(sightings),
        "cameras": pa.array(random.integers(1, 60, count)),
        "days_seen": pa.array(random.integers(1, 31, count)),
        "first_seen": pa.array(first * 1_000_000).cast(TIME),
        "last_seen": pa.array(last * 1_000_000).cast(TIME),
        "first_camera": cameras.take(pa.array(random.integers(0, 500, count))),
        "last_camera": cameras.take(pa.array(random.integers(0, 500, count))),
        "confidence_max": pa.array(random.random(count).astype(np.float32)),
        "confidence_mean": pa.array(random.random(count)),
        "gap_mean_seconds": gaps,
        "event_timestamp": pa.array([END] * count, TIME),
        "created_timestamp": pa.array([KNOWN] * count, TIME),
    }
    return pa.table(columns)


def schema_table() -> Any:
    """The rows as a table of a schema."""
    from platemill.schema import Column, Period, Table

    given = [
        Column(name, kind, name, nullable=True, feature=True) for name, kind in FEATURES.items()
    ]
    return Table(
        VIEW,
        "a row a plate",
        (
            Column("plate", pa.string(), "the key"),
            Column("month", pa.date32(), "the month"),
            Column("pipeline_version", pa.string(), "the pipeline"),
            *given,
            Column("event_timestamp", TIME, "the month's end"),
            Column("created_timestamp", TIME, "when it became known"),
        ),
        key=("plate", "month", "pipeline_version"),
        partition="month",
        period=Period.MONTH,
        entity="plate",
    )


def stock_store(folder: Path, online: dict[str, Any], parquet: Path | None = None) -> Any:
    """Feast as it comes: file source, file registry, its own online store.

    With ``parquet`` the registry is written; else it is there.
    """
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float32, Float64, Int64, String, UnixTimestamp

    kinds = {
        pa.int64(): Int64,
        TIME: UnixTimestamp,
        pa.string(): String,
        pa.float32(): Float32,
        pa.float64(): Float64,
    }
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="platemill",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online,
            entity_key_serialization_version=3,
        )
    )
    if parquet is None:
        return store
    entity = Entity(name="plate", join_keys=["plate"], value_type=ValueType.STRING)
    view = FeatureView(
        name=VIEW,
        entities=[entity],
        ttl=timedelta(days=3650),
        schema=[
            Field(name="plate", dtype=String),
            *(Field(name=name, dtype=kinds[kind]) for name, kind in FEATURES.items()),
        ],
        source=FileSource(
            name=f"{VIEW}_file",
            path=str(parquet),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
        online=True,
    )
    store.apply([entity, view])
    return store


def sqlite_online(path: Path) -> dict[str, Any]:
    """Feast's configuration of its own SQLite store."""
    return {"type": "sqlite", "path": str(path)}


def redis_online(port: int, database: int) -> dict[str, Any]:
    """Feast's configuration of its own Redis store."""
    return {"type": "redis", "connection_string": f"127.0.0.1:{port},db={database}"}


def by_feast(folder: Path, online: dict[str, Any]) -> dict[str, Any]:
    """``store.materialize``, as it comes."""
    store = stock_store(folder / f"feast-{online['type']}", online, folder / "rows.parquet")
    start = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        store.materialize(END - timedelta(days=2), END + timedelta(days=2))
    return {"seconds": time.monotonic() - start}


def by_platemill(folder: Path, kind: str, port: int) -> dict[str, Any]:
    """From the tile's file to a store that is compared, and a night that changes a hundredth."""
    from platemill.features.parity import LIMITS, compare_table, refuse_difference
    from platemill.features.rows import make_latest
    from platemill.features.staging import Prepared
    from platemill.features.stamp import Stamp
    from platemill.features.target import Base, Start
    from platemill.features.write import write_view
    from platemill.lake import FileEntry, Generation, open_lake
    from platemill.settings import Settings
    from platemill.warehouse.duck import connect

    settings = Settings(home=folder / f"home-{kind}", project=PROJECT)
    lake, table = open_lake(settings), schema_table()
    stamp = Stamp(1, "bench", "p1", "d1", KNOWN)
    generations = []
    for number, name in enumerate(("rows", "night"), 1):
        path = f"tiles/{VIEW}/month={MONTH}/{number:08}-{name}.parquet"
        (lake.root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / f"{name}.parquet", lake.root / path)
        entry = FileEntry(path, 0, 0)
        tables = {VIEW: {MONTH: entry}}
        generations.append(Generation(number, None, "bench", KNOWN, "p1", "1", tables))
    answer: dict[str, Any] = {}
    for number, generation in enumerate(generations):
        start = time.monotonic()
        base = None if number == 0 else Base(generations[0])
        target = open_target(folder, kind, port, table, base is None)
        with connect(lake, memory="2GB", threads=2) as connection:
            keys = make_latest(connection, lake, generation, table)
            prepared = Prepared(target, Start(base), stamp, None)  # type: ignore[arg-type]
            written, _ = write_view(connection, lake, prepared, generation, table, keys, None)
            between = time.monotonic()
            parity = compare_table(connection, target, table, keys, limits=LIMITS, salt=1)
            refuse_difference(parity, "the file")
            compared = time.monotonic()
            target.seal(stamp)
        target.close()
        spent = between - start + time.monotonic() - compared
        name = ("seconds", "night_seconds")[number]
        answer |= {name: spent, f"{name}_parity": compared - between, f"{name}_rows": written}
        if number == 0 and kind == "sqlite":
            shutil.copyfile(folder / "ours.db", folder / "ours-first.db")
    return answer


def open_target(folder: Path, kind: str, port: int, table: Any, full: bool) -> Any:
    """A store to be written: empty, or with the rows of before."""
    if kind == "sqlite":
        from platemill.features.packed import Packed
        from platemill.features.sqlite_target import SqliteTarget, copy_store, new_store

        path = folder / "ours.db"
        source = folder / "ours-first.db"
        if full:
            new_store(path)
        else:
            path.unlink()
            copy_store(source, path)
        packed = {VIEW: Packed(f"platemill_{VIEW}", tuple(FEATURES))}
        return SqliteTarget(path, packed, "bench", source=None if full else source)
    from platemill.features.redis_place import WRITER, RedisPlace, connect_redis
    from platemill.features.redis_target import Hashes, RedisTarget
    from platemill.features.resp import Wire

    place = RedisPlace(f"redis://127.0.0.1:{port}/0", 1)
    client = connect_redis(place.url_of(place.staging))
    client.set(WRITER, b"bench")
    hashes = {VIEW: Hashes.of("platemill", VIEW, list(FEATURES))}
    return RedisTarget(place, Wire(client), b"bench", hashes)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A real server on loopback that keeps nothing on disk; yields its port."""
    import redis

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    process = subprocess.Popen(
        [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        with contextlib.closing(redis.Redis(port=port)) as client:
            for _ in range(200):
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def child(folder: Path, who: str, kind: str, port: int) -> dict[str, Any]:
    """Run one way of writing in a process of its own."""
    asked = ["--folder", str(folder), "--who", who, "--kind", kind, "--port", str(port)]
    done = subprocess.run(
        [sys.executable, __file__, *asked],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def work(folder: Path, who: str, kind: str, port: int) -> None:
    """What a child does."""
    import feast
    import feast.infra.compute_engines.local.compute  # noqa: F401

    if who == "platemill":
        answer = by_platemill(folder, kind, port)
    elif kind == "sqlite":
        answer = by_feast(folder, sqlite_online(folder / "feast.db"))
    else:
        answer = by_feast(folder, redis_online(port, 0))
    answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))


def same_answers(folder: Path, stores: dict[str, dict[str, Any]], keys: list[str]) -> None:
    """Feast's own stores answer the same from all of them, through ``get_online_features``."""
    answers = {}
    for name, online in stores.items():
        store = stock_store(folder / "feast-sqlite", online)
        answers[name] = store.get_online_features(
            [f"{VIEW}:{feature}" for feature in FEATURES], [{"plate": key} for key in keys]
        ).to_dict()
    first, *others = answers
    for name in others:
        assert answers[name] == answers[first], f"Feast reads other values from {name} than {first}"
    assert answers[first]["sightings"][0] is not None
    assert answers[first]["sightings"][-1] is None, "the last key is nobody's"


def same_bytes(folder: Path, port: int, keys: list[str]) -> None:
    """What lies in stock's stores and in ours is the same, byte for byte."""
    import redis

    from platemill.features.encode import encode_entity_key

    names = [encode_entity_key(key, "plate") for key in keys]
    asked = (
        f'SELECT entity_key, feature_name, value, event_ts, created_ts FROM "platemill_{VIEW}" '
        f"WHERE entity_key IN ({', '.join('?' * len(names))}) ORDER BY 1, 2"
    )
    found = []
    for file in ("feast.db", "ours-first.db"):
        with contextlib.closing(sqlite3.connect(folder / file)) as database:
            found.append(database.execute(asked, names).fetchall())
    assert len(found[0]) == (len(keys) - 1) * len(FEATURES)
    assert found[0] == found[1], "SQLite's rows differ"
    with (
        contextlib.closing(redis.Redis(port=port, db=0)) as one,
        contextlib.closing(redis.Redis(port=port, db=1)) as other,
    ):
        for name in names:
            hashes = [client.hgetall(name + b"platemill") for client in (one, other)]
            assert hashes[0] == hashes[1], f"Redis's hashes differ: {name!r}"


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """All ways of writing, one after another."""
    import redis

    for name in ("rows", "night"):
        pq.write_table(rows_of(rows, changed=name == "night"), folder / f"{name}.parquet")
    step = max(1, rows // SAMPLE)
    keys = [*(f"P{number:07}" for number in range(1, rows, step)), "nobody"]
    result: dict[str, Any] = {"rows": rows, "features": len(FEATURES), "cpus": os.cpu_count()}
    result["machine"] = platform.processor() or platform.machine()
    with redis_server(folder) as port, contextlib.closing(redis.Redis(port=port)) as client:
        said: dict[str, Any] = {}
        empty = client.info("memory")["used_memory"]
        said["feast sqlite"] = child(folder, "feast", "sqlite", port)
        said["feast sqlite"]["mb"] = (folder / "feast.db").stat().st_size / 1e6
        said["platemill sqlite"] = child(folder, "platemill", "sqlite", port)
        said["platemill sqlite"]["mb"] = (folder / "ours-first.db").stat().st_size / 1e6
        said["feast redis"] = child(folder, "feast", "redis", port)
        full = client.info("memory")["used_memory"]
        said["feast redis"]["mb"] = (full - empty) / 1e6
        said["platemill redis"] = child(folder, "platemill", "redis", port)
        said["platemill redis"]["mb"] = (client.info("memory")["used_memory"] - full) / 1e6
        # The second night wrote over a hundredth of ours: those keys are left out.
        same = [key for key in keys if key == "nobody" or int(key[1:]) % 100]
        same_bytes(folder, port, same)
        stores = {
            "feast-sqlite": sqlite_online(folder / "feast.db"),
            "ours-sqlite": sqlite_online(folder / "ours-first.db"),
            "feast-redis": redis_online(port, 0),
            "ours-redis": redis_online(port, 1),
        }
        for kind in ("sqlite", "redis"):
            pair = {name: online for name, online in stores.items() if name.endswith(kind)}
            same_answers(folder, pair, same)
    for kind in ("sqlite", "redis"):
        ratio = said[f"feast {kind}"]["seconds"] / said[f"platemill {kind}"]["seconds"]
        result[f"times_as_fast_{kind}"] = round(ratio, 2)
    return {**result, "ways": said}


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    rows = result["rows"]
    table = Table(title=f"{rows:,} rows × {result['features']} features")
    for head in ("", "s", "rows/s", "compare s", "1 % night s", "compare s", "MB", "peak MB"):
        table.add_column(head, justify="left" if not head else "right")
    for name, said in result["ways"].items():
        cells = [said.get(k) for k in ("seconds_parity", "night_seconds", "night_seconds_parity")]
        table.add_row(
            name,
            f"{said['seconds']:.2f}",
            f"{rows / said['seconds']:,.0f}",
            *("" if cell is None else f"{cell:.2f}" for cell in cells),
            f"{said['mb']:,.0f}",
            f"{said['peak_mb']:,.0f}",
        )
    console = Console()
    console.print(table)
    for kind in ("sqlite", "redis"):
        ratio = result[f"times_as_fast_{kind}"]
        met = "goal" if ratio >= GOAL else "least" if ratio >= LEAST else "NOT ENOUGH"
        console.print(f"{kind}: {ratio} times the rows a second ({met}: {GOAL:g}, {LEAST:g})")
    console.print("Feast reads the same from both; the same bytes lie in both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--who", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    # Feast's SQLite store writes times as local ones.
    os.environ["TZ"] = "UTC"
    time.tzset()
    if given.who:
        work(given.folder, given.who, given.kind, given.port)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(given.rows, Path(folder))
    show(result)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
