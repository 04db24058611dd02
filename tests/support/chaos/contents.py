"""What a home holds, as values that two homes can be compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from chaos.world import Fact
from platemill.lake.generation import Generation
from platemill.lake.inventory import newest_inventory
from platemill.lake.storage import LocalStorage
from platemill.schema import LOGS, TABLES

__all__ = ["Contents", "contents_of", "differences", "generations_of", "hashes_of", "lies"]

Contents = dict[str, list[str]]
"""Table → its rows as texts, sorted, without the columns that depend on the attempt."""

# When and by which attempt a row was made is not what it says.
_ATTEMPT = frozenset({"run_id", "processed_at", "created_at", "created_timestamp", "attempts"})
# These tell of the nights that there were, not of what is in the archive.
_LOGS = frozenset(table.name for table in LOGS)
# Of these only whether there is a time: it is the clock's.
_WHETHER = frozenset({"deleted_at"})


def generations_of(home: Path) -> list[int]:
    """The numbers of the manifests."""
    folder = home / "lake" / "_generations"
    return sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())


def contents_of(home: Path) -> Contents:
    """Every table through a stock DuckDB, and the history files of the newest manifest."""
    found: Contents = {}
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in TABLES.keys() - _LOGS:
            found[table] = _rows(connection, f'"{table}"')
    number = generations_of(home)[-1]
    manifest = home / "lake" / "_generations" / f"{number:08d}.json"
    generation = Generation.from_json(manifest.read_bytes())
    for table, partitions in sorted(generation.history.items()):
        paths = [home / "lake" / entry.path for files in partitions.values() for entry in files]
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            listed = ", ".join(f"'{path}'" for path in paths)
            source = f"read_parquet([{listed}], hive_partitioning = false)"
            found[f"history of {table}"] = _rows(connection, source) if paths else []
    inventory = newest_inventory(LocalStorage(home / "lake"))
    columns = ["uri", "image_id", "camera_id", "captured_at", "byte_size", "rejected_reason"]
    found["inventory"] = sorted(
        str(tuple(row.values()))
        for day in inventory.days
        for row in inventory.read(day, columns).to_pylist()
    )
    return found


def _rows(connection: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    wanted = [
        f'"{name}" IS NULL' if name in _WHETHER else f'"{name}"'
        for name in columns
        if name not in _ATTEMPT
    ]
    rows = connection.execute(f"SELECT {', '.join(wanted)} FROM {source}").fetchall()
    return sorted(map(str, rows))


def hashes_of(contents: Contents) -> dict[str, str]:
    """A hash a table, whatever the order of its rows."""
    return {
        table: hashlib.blake2b("\n".join(rows).encode(), digest_size=8).hexdigest()
        for table, rows in contents.items()
    }


def differences(expected: Contents, found: Contents) -> list[str]:
    """What differs, a line a table; empty if nothing does."""
    problems = []
    ours, theirs = hashes_of(expected), hashes_of(found)
    for table in sorted(ours.keys() | theirs.keys()):
        if ours.get(table) == theirs.get(table):
            continue
        before, after = expected.get(table, []), found.get(table, [])
        missing = sorted(set(before) - set(after))[:2]
        extra = sorted(set(after) - set(before))[:2]
        problems.append(
            f"{table}: {len(before)} rows expected, {len(after)} found; missing {missing}, "
            f"not expected {extra}"
        )
    return problems


def lies(home: Path, facts: Mapping[str, Fact]) -> list[str]:
    """Where the tables say something else than what is in the archive, whatever ran before.

    Every file that was ever there has one row with its status, and its plates are all there and no
    others; so for every day files = recognised + no_plate + quarantined.
    """
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        images: list[Any] = connection.execute(
            "SELECT uri, day, status, plates, deleted_at IS NOT NULL FROM images"
        ).fetchall()
        plates: list[Any] = connection.execute(
            "SELECT uri, plate FROM recognitions ORDER BY uri, plate_index"
        ).fetchall()
    problems = []
    by_uri: dict[str, list[str]] = {}
    for uri, plate in plates:
        by_uri.setdefault(uri, []).append(plate)
    if len(images) != len({row[0] for row in images}):
        problems.append("an image has more than one row")
    seen = {
        uri: Fact(day, status, tuple(by_uri.get(uri, ())), deleted)
        for uri, day, status, _, deleted in images
    }
    wanted = dict(facts)
    for uri in sorted(seen.keys() | wanted.keys()):
        if seen.get(uri) != wanted.get(uri):
            problems.append(f"{uri}: expected {wanted.get(uri)}, found {seen.get(uri)}")
    if sum(row[3] for row in images) != len(plates):
        problems.append("the sum of images.plates is not the number of recognitions")
    return problems[:6]
