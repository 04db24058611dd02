"""A spliced file says what a file written anew says, whatever the row groups and the changes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from platemill.lake.files import write_parquet
from platemill.lake.footer import read_footer
from platemill.lake.splice import Run, splice_parquet
from platemill.lake.storage import LocalStorage

FIELDS: list[pa.Field] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("place", pa.int32(), nullable=False),
    pa.field("share", pa.float32()),
    pa.field("counts", pa.list_(pa.int64())),
]
SCHEMA = pa.schema(FIELDS)
KEYS = st.sampled_from(["", "a", "aa", "b", "ba", "c", "d", "dé", "e", "ё", "z"])
# Key and place → what else a row says.
ROWS = st.dictionaries(
    st.tuples(KEYS, st.integers(0, 3)),
    st.tuples(st.none() | st.floats(0, 1, width=32), st.lists(st.integers(0, 9), max_size=3)),
    max_size=25,
)


def batch(rows: Iterable[tuple[str, int]], said: dict) -> pa.RecordBatch:
    """Rows in the order of their UTF-8 bytes, as DuckDB sorts them."""
    chosen = sorted(rows, key=lambda row: (row[0].encode(), row[1]))
    listed = [
        {"key": key, "place": place, "share": said[key, place][0], "counts": said[key, place][1]}
        for key, place in chosen
    ]
    return pa.RecordBatch.from_pylist(listed, schema=SCHEMA)


def in_groups(rows: pa.RecordBatch, sizes: list[int]) -> list[pa.RecordBatch]:
    found, start = [], 0
    for size in sizes:
        found.append(rows.slice(start, size))
        start += size
    return [*found, rows.slice(start)]


@settings(max_examples=120, deadline=None)
@given(
    before=ROWS.filter(len),
    after=ROWS,
    sizes=st.lists(st.integers(1, 6), max_size=8),
    again=st.lists(st.integers(1, 6), max_size=4),
)
def test_a_spliced_file_is_the_file_written_anew(
    before: dict, after: dict, sizes: list[int], again: list[int]
) -> None:
    after = {**after, **{row: said for row, said in before.items() if row[1] == 0}}
    differing = {row for row in before.keys() | after.keys() if before.get(row) != after.get(row)}
    keys = sorted({key for key, _ in differing}, key=str.encode)
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(Path(folder))
        old = write_parquet(storage, "old/", SCHEMA, in_groups(batch(before, before), sizes))
        assert old is not None
        if not keys:
            return
        asked: list[Run] = []

        def rewrite(run: Run, standing: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            asked.append(run)
            stays = [
                (row["key"], row["place"])
                for part in standing
                for row in part.to_pylist()
                if row["key"] not in keys
            ]
            comes = [
                row
                for row in after
                if row[0] in keys
                and (run.low is None or row[0].encode() >= run.low.encode())
                and (run.high is None or row[0].encode() < run.high.encode())
            ]
            return in_groups(batch([*stays, *comes], after), again)

        new = splice_parquet(storage, "new/", SCHEMA, old, keys, rewrite)
        wanted = batch(after, after).to_pylist()
        if new is None:
            assert not wanted
            return
        path = storage.locate(new.path)
        assert pq.read_table(path, partitioning=None).to_pylist() == wanted
        read = duckdb.sql("FROM read_parquet($file)", params={"file": str(path)})
        assert read.to_arrow_table().to_pylist() == wanted
        assert new.rows == len(wanted) == pq.read_metadata(path).num_rows
        # Only the groups that a key lies in, or belongs into, are read.
        metadata = pq.read_metadata(storage.locate(old.path))
        read_groups = {n for run in asked for n in range(run.first, run.last + 1)}
        for n in set(range(metadata.num_row_groups)) - read_groups:
            said = metadata.row_group(n).column(0).statistics
            assert not [key for key in keys if said.min <= key <= said.max]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS.filter(len), sizes=st.lists(st.integers(1, 6), max_size=8))
def test_a_footer_is_written_as_it_was_read(rows: dict, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(Path(folder))
        entry = write_parquet(storage, "a/", SCHEMA, in_groups(batch(rows, rows), sizes))
        assert entry is not None
        data = storage.locate(entry.path).read_bytes()
        with storage.locate(entry.path).open("rb") as file:
            footer = read_footer(file)
        groups = footer.row_groups()
        moved = [group.moved(group.start, place) for place, group in enumerate(groups)]
        assert data.endswith(footer.with_row_groups(moved))
