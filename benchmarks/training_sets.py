"""Training sets: ours against Feast's joins, over the same made-up tiles, side by side.

    python benchmarks/training_sets.py --rows 100000 1000000 --limit-seconds 1800

Makes the day, week and month tiles of 20,000 plates over a year, about a million versions of rows,
late, corrected and deleted ones among them, and entity files with a random plate and time a row.
Every way runs in a process of its own and writes a Parquet file with all features of the three
views; its seconds are from the entity file to that file, without imports. A way that takes longer,
or more memory, than the limits is ended. What each wrote is compared with what ours wrote.

- ``platemill``: ``training-set``; ``platemill, small``: the same with 250 MB for DuckDB;
- ``feast + lake``: ``get_historical_features`` of this project's offline store;
- ``feast duckdb``: Feast's own, over one Parquet file a view, with ``filter_by_created_timestamp``
  and as it comes;
- ``feast file``: Feast's default (dask), which has no such filter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from made_tiles import DAYS, FIRST, make_tiles
from rich.console import Console
from rich.table import Table as RichTable

from platemill.features.training_set import TrainingRequest, build_training_set
from platemill.features.versions import version_files
from platemill.lake import open_lake
from platemill.schema import TABLES
from platemill.settings import Settings
from platemill.warehouse.duck import sql_type

PROJECT = Path(__file__).resolve().parents[1]
VIEWS = ["plate_day_v1", "plate_week_v1", "plate_month_v1"]
OURS, OURS_CORRECTED = "platemill", "platemill, corrected past"
# Each way: whether it may use what was known only later, and what it is compared with.
WAYS = {
    OURS: None,
    "platemill, small": OURS,
    OURS_CORRECTED: None,
    "feast + lake": OURS,
    "feast duckdb, filtered": OURS,
    "feast duckdb": OURS_CORRECTED,
    "feast file": OURS_CORRECTED,
}


def settings_of(work: Path, memory: str) -> Settings:
    return Settings(home=work / "home", project=PROJECT, duckdb_memory=memory)


def entity_file(work: Path, rows: int) -> Path:
    return work / f"entities-{rows}.parquet"


def out_file(work: Path, rows: int, way: str) -> Path:
    return work / f"out-{rows}-{way.replace(' ', '-').replace(',', '')}.parquet"


def make(work: Path, plates: int, each: int, rows: list[int]) -> dict[str, int]:
    """Tiles, the same as one file a view for Feast's own stores, and entity files."""
    settings = settings_of(work, "2GB")
    lake = open_lake(settings)
    made = make_tiles(lake, VIEWS, plates, each)
    generation = lake.current()
    assert generation is not None
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for view in VIEWS:
            files = [str(lake.root / e.path) for e in version_files(generation, TABLES[view])]
            connection.execute(
                f"COPY (FROM read_parquet({files!r}, hive_partitioning = false)) "
                f"TO '{work / view}.parquet' (FORMAT parquet)"
            )
        for count in rows:
            # One plate in twenty is unknown; times from the first tile on to two months after.
            connection.execute(
                "COPY (SELECT i::BIGINT AS row_id, format('A{:03d}AA{:03d}', p // 1000, p % 1000) "
                f"AS plate, '{FIRST}'::DATE::TIMESTAMPTZ + to_microseconds((hash(i, 'time') "
                f"% ({DAYS + 60} * 86400000000))::BIGINT) AS event_timestamp "
                f"FROM (SELECT i, (hash(i) % {plates * 21 // 20})::INTEGER AS p "
                f"FROM range({count}) t(i))) TO '{entity_file(work, count)}' (FORMAT parquet)"
            )
    return made


def stock_store(work: Path, offline: str) -> Any:
    """Feast's own store of a kind, over one file a view."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType

    from platemill.features.definitions import feast_type

    store = FeatureStore(
        config=RepoConfig(
            project="stock",
            provider="local",
            registry=str(work / f"{offline}.registry"),
            offline_store={"type": offline},
            online_store={"type": "sqlite", "path": str(work / f"{offline}.db")},
            entity_key_serialization_version=3,
        )
    )
    plate = Entity(name="plate", join_keys=["plate"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=view,
            entities=[plate],
            ttl=TABLES[view].ttl,
            schema=[
                Field(name=c.name, dtype=feast_type(c.type))
                for c in (TABLES[view].column("plate"), *TABLES[view].features)
            ],
            source=FileSource(
                path=str(work / f"{view}.parquet"),
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        for view in VIEWS
    ]
    store.apply([plate, *views])
    return store


def lake_store(work: Path) -> Any:
    """The project's own store."""
    from platemill.features.definitions import definitions
    from platemill.features.store import open_store

    settings = settings_of(work, "2GB")
    settings.features.mkdir(exist_ok=True)
    store = open_store(settings)
    store.apply(list(definitions().values()))
    return store


def references(lists: bool) -> list[str]:
    """The features that are asked for: all, or all but the lists."""
    return [
        f"{view}:{column.name}"
        for view in VIEWS
        for column in TABLES[view].features
        if lists or not pa.types.is_nested(column.type)
    ]


def run_feast(
    store: Any, entities: Path, out: Path, features: list[str], *, filtered: bool
) -> None:
    job = store.get_historical_features(
        entity_df=pq.read_table(entities).to_pandas(),
        features=features,
        full_feature_names=True,
        filter_by_created_timestamp=filtered,
    )
    pq.write_table(job.to_arrow(), out, compression="zstd")


def run_ours(
    work: Path, entities: Path, out: Path, features: list[str], memory: str, *, corrected: bool
) -> None:
    request = TrainingRequest(entities, out, features=features, corrected_past=corrected)
    build_training_set(settings_of(work, memory), request)


def one(work: Path, rows: int, way: str, features: list[str]) -> None:
    """Run a way in this process, and print its seconds."""
    warnings.simplefilter("ignore")
    entities, out = entity_file(work, rows), out_file(work, rows, way)
    call: Callable[[], None]
    if way.startswith("platemill"):
        memory = "250MB" if way == "platemill, small" else "2GB"
        corrected = way == OURS_CORRECTED
        call = lambda: run_ours(work, entities, out, features, memory, corrected=corrected)  # noqa: E731
    else:
        if way == "feast + lake":
            store = lake_store(work)
        else:
            store = stock_store(work, "file" if way == "feast file" else "duckdb")
        filtered = way == "feast duckdb, filtered"
        call = lambda: run_feast(store, entities, out, features, filtered=filtered)  # noqa: E731
    start, processor = time.perf_counter(), time.process_time()
    call()
    said = {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - processor, 2),
    }
    print(json.dumps(said), flush=True)


def limited(
    work: Path, rows: int, way: str, seconds: float, gib: float, lists: bool
) -> dict[str, Any]:
    """Run a way in a process of its own, watched every tenth of a second."""
    command = [sys.executable, __file__, "--work", str(work), "--one", way, "--rows", str(rows)]
    command += [] if lists else ["--without-lists"]
    log = work / f"log-{rows}-{way.replace(' ', '-')}.txt"
    out_file(work, rows, way).unlink(missing_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        process, started = psutil.Process(child.pid), time.monotonic()
        peak = own = 0
        ended = ""
        while child.poll() is None:
            try:
                memory = process.memory_full_info()
                peak, own = max(peak, memory.rss), max(own, memory.uss)
            except psutil.Error:
                break
            if time.monotonic() - started > seconds:
                ended = f"> {seconds:.0f} s"
            elif memory.rss > gib * 2**30:
                ended = f"> {gib:g} GiB"
            if ended:
                child.kill()
                break
            time.sleep(0.1)
        assert child.stdout is not None
        told = child.stdout.read()
    answer = {"peak_mib": peak >> 20, "peak_own_mib": own >> 20}
    if told:
        return {**answer, **json.loads(told)}
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    return {**answer, "ended": ended or f"exit {child.returncode}: {''.join(last)[:200]}"}


def compare(work: Path, rows: int, way: str, reference: str, features: list[str]) -> dict[str, int]:
    """How many of the rows that were asked about are missing, or have another value."""
    ours, theirs = out_file(work, rows, reference), out_file(work, rows, way)
    names = [reference.replace(":", "__") for reference in features]
    types = [
        sql_type(TABLES[view].column(name).type)
        for view, name in (reference.split(":") for reference in features)
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        # Some write whole numbers with nulls as floating ones.
        differs = " OR ".join(
            f'o."{name}" IS DISTINCT FROM t."{name}"::{kind}'
            for name, kind in zip(names, types, strict=True)
        )
        missing, wrong, extra = connection.execute(
            f"SELECT count(*) FILTER (WHERE t.row_id IS NULL), "
            f"count(*) FILTER (WHERE t.row_id IS NOT NULL AND ({differs})), "
            f"(SELECT count(*) FROM read_parquet($theirs)) - count(t.row_id) "
            "FROM read_parquet($ours) o LEFT JOIN read_parquet($theirs) t USING (row_id)",
            {"ours": str(ours), "theirs": str(theirs)},
        ).fetchall()[0]
    return {"missing": missing, "mismatching": wrong, "extra": extra}


def show(rows: int, results: dict[str, dict[str, Any]]) -> None:
    table = RichTable(title=f"{rows:,} entity rows")
    for name in ("way", "seconds", "× ours", "CPU s", "peak MiB", "own MiB", "compared"):
        table.add_column(name, justify="left" if name in ("way", "compared") else "right")
    base = results.get(OURS, {}).get("seconds")
    for way, found in results.items():
        seconds = found.get("seconds")
        ratio = f"{seconds / base:.1f}" if seconds and base else ""
        agrees = "".join(
            f"{found[what]:,} {what} "
            for what in ("missing", "mismatching", "extra")
            if what in found
        )
        table.add_row(
            way,
            f"{seconds:.2f}" if seconds else found["ended"],
            ratio,
            str(found.get("cpu_seconds", "")),
            f"{found['peak_mib']:,}",
            f"{found['peak_own_mib']:,}",
            agrees,
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--plates", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=23, help="sightings of a plate")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--limit-seconds", type=float, default=1800.0)
    parser.add_argument("--limit-gib", type=float, default=14.0)
    parser.add_argument(
        "--work", type=Path, help="folder to work in, kept; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--without-lists", action="store_true", help="leave lists of numbers out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    lists = not given.without_lists
    asked = references(lists)
    if given.one:
        one(given.work, given.rows[0], given.one, asked)
        return
    with tempfile.TemporaryDirectory(prefix="training-sets-") as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        made = make(work, given.plates, given.each, given.rows)
        print(f"{made}: {sum(made.values()):,} versions, {len(asked)} features")
        figures: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total >> 30} GiB, "
            f"{platform.platform()}, Python {platform.python_version()}",
            "versions": {
                n: version(n) for n in ("duckdb", "feast", "ibis-framework", "pyarrow", "dask")
            },
            "stored": made,
            "features": len(asked),
            "limits": {"seconds": given.limit_seconds, "gib": given.limit_gib},
            "rows": {},
        }
        for rows in given.rows:
            results: dict[str, dict[str, Any]] = {}
            for way in given.ways:
                found = limited(work, rows, way, given.limit_seconds, given.limit_gib, lists)
                reference = WAYS[way]
                if "seconds" in found and reference in results:
                    found |= compare(work, rows, way, reference, asked)
                results[way] = found
                print(f"{rows:,} {way}: {found}", flush=True)
            show(rows, results)
            figures["rows"][rows] = results
    text = json.dumps(figures, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
