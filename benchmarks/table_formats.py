"""Replacing a day of a table under a reader in a loop, in plain Parquet and in table formats.

    python benchmarks/table_formats.py

A table of 50 days of 20,000 rows. A writer replaces one day after another with as many rows; a
reader in a process of its own counts all rows again and again. An error of the reader, or a count
other than a million, is a half-written night that somebody saw. Then a stock DuckDB, which may
load no extension, opens what is there.

A format whose library is not installed is left out: ``deltalake``, ``pyiceberg[sql-sqlite]``,
``duckdb-extension-ducklake`` (with the DuckDB of its version) belong into an environment of their
own.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

DAYS = 50
ROWS = 20_000


def day_rows(day: int, version: int) -> pa.Table:
    numbers = pa.array(range(ROWS), pa.int64())
    return pa.table(
        {
            "day": pa.array([day] * ROWS, pa.int32()),
            "n": numbers,
            "version": pa.array([version] * ROWS, pa.int32()),
            "plate": pa.array([f"A{n % 1000:03}AA{day}" for n in range(ROWS)]),
            "confidence": pa.array([n / ROWS for n in range(ROWS)], pa.float64()),
        }
    )


class InPlace:
    """A folder a day; the day's file is written over, readers use a glob."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def replace(self, day: int, rows: pa.Table) -> None:
        folder = self.root / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, folder / "data.parquet", compression="zstd")

    def count(self) -> int:
        return stock_count([str(path) for path in self.root.glob("*/*.parquet")])

    def stock(self) -> int:
        return self.count()


class Plain:
    """What the lake does: a file by its hash, synced and linked; a numbered manifest, linked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def replace(self, day: int, rows: pa.Table) -> None:
        folder = self.root / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        part = self.root / "part"
        pq.write_table(rows, part, compression="zstd")
        name = hashlib.blake2b(part.read_bytes(), digest_size=16).hexdigest()
        self._take(part, folder / f"{name}.parquet")
        number, files = self._current()
        part.write_text(json.dumps({**files, str(day): f"day={day}/{name}.parquet"}))
        self._take(part, self.root / f"{number + 1:08d}.json")

    def count(self) -> int:
        return stock_count([str(self.root / name) for name in self._current()[1].values()])

    def stock(self) -> int:
        return self.count()

    def _current(self) -> tuple[int, dict[str, str]]:
        manifests = sorted(self.root.glob("*.json"))
        if not manifests:
            return 0, {}
        return int(manifests[-1].stem), json.loads(manifests[-1].read_text())

    def _take(self, part: Path, name: Path) -> None:
        for path in (part, name.parent):
            descriptor = os.open(path, os.O_RDONLY)
            if path is not part:
                os.link(part, name)
                part.unlink()
            os.fsync(descriptor)
            os.close(descriptor)


class Delta:
    """delta-rs, a day a partition."""

    library = "deltalake"

    def __init__(self, root: Path) -> None:
        self.root = root

    def replace(self, day: int, rows: pa.Table) -> None:
        from deltalake import write_deltalake

        given: dict[str, Any] = {"mode": "append", "partition_by": ["day"]}
        if (self.root / "_delta_log").exists():
            given = {"mode": "overwrite", "predicate": f"day = {day}"}
        write_deltalake(str(self.root), rows, **given)

    def count(self) -> int:
        from deltalake import DeltaTable

        table = DeltaTable(str(self.root))
        return stock_count([uri.removeprefix("file://") for uri in table.file_uris()])

    def stock(self) -> int:
        return refused(f"SELECT count(*) FROM delta_scan('{self.root}')")


class Iceberg:
    """pyiceberg over its SQL catalog in SQLite, a day a partition."""

    library = "pyiceberg"

    def __init__(self, root: Path) -> None:
        from pyiceberg.catalog.sql import SqlCatalog

        self.root = root
        self.catalog = SqlCatalog(
            "c", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}"
        )

    def replace(self, day: int, rows: pa.Table) -> None:
        from pyiceberg.expressions import EqualTo

        if not self.catalog.namespace_exists("n"):
            self.catalog.create_namespace("n")
            table = self.catalog.create_table("n.t", rows.schema)
            with table.update_spec() as spec:
                spec.add_identity("day")
        self.catalog.load_table("n.t").overwrite(rows, EqualTo("day", day))

    def count(self) -> int:
        files = self.catalog.load_table("n.t").scan().plan_files()
        return stock_count([task.file.file_path.removeprefix("file://") for task in files])

    def stock(self) -> int:
        return refused(f"SELECT count(*) FROM iceberg_scan('{self.root}/n/t')")


class DuckLake:
    """DuckLake with its catalog in a DuckDB file, as one machine would use it."""

    library = "duckdb_extension_ducklake"

    def __init__(self, root: Path) -> None:
        import duckdb_extension_ducklake

        self.root = root
        folder = Path(next(iter(duckdb_extension_ducklake.__path__)))
        (self.extension,) = folder.rglob("*.duckdb_extension")

    def replace(self, day: int, rows: pa.Table) -> None:
        with self._open("") as connection:
            connection.register("fresh", rows)
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE IF NOT EXISTS lake.t AS FROM fresh LIMIT 0")
            connection.execute("DELETE FROM lake.t WHERE day = ?", [day])
            connection.execute("INSERT INTO lake.t FROM fresh")
            connection.execute("COMMIT")

    def count(self) -> int:
        with self._open(", READ_ONLY") as connection:
            return one(connection, "SELECT count(*) FROM lake.t")

    def stock(self) -> int:
        return refused(f"ATTACH 'ducklake:{self.root}/catalog.ducklake' AS lake")

    def _open(self, more: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute(f"LOAD '{self.extension}'")
        connection.execute(
            f"ATTACH 'ducklake:{self.root}/catalog.ducklake' AS lake "
            f"(DATA_PATH '{self.root}/data'{more})"
        )
        return connection


FORMATS: dict[str, Callable[[Path], Any]] = {
    "in place": InPlace,
    "plain": Plain,
    "delta": Delta,
    "iceberg": Iceberg,
    "ducklake": DuckLake,
}


def one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def stock_count(files: list[str]) -> int:
    """Rows of Parquet files, in a DuckDB that loads nothing."""
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        listed = ", ".join(f"'{file}'" for file in files)
        return one(connection, f"SELECT count(n) FROM read_parquet([{listed}])")


def refused(sql: str) -> int:
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        return one(connection, sql)


def read_on(name: str, root: Path) -> None:
    """Count until the file ``stop`` is there; print what was seen."""
    table = FORMATS[name](root)
    reads = errors = wrong = 0
    example = ""
    while not (root.parent / "stop").exists():
        reads += 1
        try:
            seen = table.count()
        except Exception as error:
            errors += 1
            example = example or str(error).splitlines()[0][:100]
        else:
            wrong += seen != DAYS * ROWS
    print(json.dumps({"reads": reads, "errors": errors, "wrong": wrong, "example": example}))


def measure(name: str, commits: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "table"
        root.mkdir()
        table = FORMATS[name](root)
        for day in range(DAYS):
            table.replace(day, day_rows(day, 0))
        reader = subprocess.Popen(
            [sys.executable, __file__, "--read", name, str(root)], stdout=subprocess.PIPE, text=True
        )
        time.sleep(3)
        seconds = []
        failed = 0
        for n in range(commits):
            rows = day_rows(n % DAYS, n + 1)
            start = time.perf_counter()
            try:
                table.replace(n % DAYS, rows)
            except Exception:
                failed += 1
            seconds.append(time.perf_counter() - start)
        (root.parent / "stop").touch()
        read = json.loads(reader.communicate()[0])
        try:
            stock = f"{table.stock():,} rows"
        except duckdb.Error as error:
            stock = str(error).splitlines()[0][:100]
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
        return {
            "commit_ms_median": round(statistics.median(seconds) * 1000),
            "commit_ms_max": round(max(seconds) * 1000),
            "commits_failed": failed,
            "reader": read,
            "stock_duckdb": stock,
            "megabytes": round(size / 1e6, 1),
        }


def installed(name: str) -> bool:
    library = getattr(FORMATS[name], "library", "duckdb")
    return importlib.util.find_spec(library) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=40)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read_on(asked.read[0], Path(asked.read[1]))
        return
    found = {name: measure(name, asked.commits) for name in FORMATS if installed(name)}
    print(
        json.dumps(
            {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "duckdb": duckdb.__version__,
                "commits": asked.commits,
                "formats": found,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
