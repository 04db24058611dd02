"""The stamp that tells which night an online store holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from small_lake import NIGHT

from platemill.features.stamp import (
    Stamp,
    mark_written_by_hand,
    read_stamp,
    stamp_of,
    stamp_to_json,
    was_written_by_hand,
    write_stamp,
)
from platemill.lake import Generation

STAMP = Stamp(3, "r3", "p1", "d1", NIGHT)
GENERATION = Generation(3, 2, "r3", NIGHT, "p1", "1")


def test_a_stamp_is_read_back_and_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "a b.db"
    assert read_stamp(path) is None
    write_stamp(path, STAMP)
    write_stamp(path, STAMP)
    assert read_stamp(path) == STAMP
    write_stamp(path, None)
    assert read_stamp(path) is None


def test_a_file_that_is_no_database_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to look like the head of one" * 20)
    assert read_stamp(path) is None
    path.write_bytes(b"")
    assert read_stamp(path) is None


def test_it_goes_through_redis() -> None:
    stamp = replace(STAMP, lake="s3://bucket/prefix")
    assert stamp_of(stamp_to_json(stamp)) == stamp
    assert stamp_of(None) is None
    for wrong in (b"", b"3", b"{}", b'{"generation": 3}'):
        with pytest.raises(ValueError):
            stamp_of(wrong)


def test_who_wrote_by_hand_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    write_stamp(path, STAMP)
    assert not was_written_by_hand(path)
    with closing(sqlite3.connect(path)) as database, database:
        mark_written_by_hand(database)
        mark_written_by_hand(database)
    assert was_written_by_hand(path)
    assert read_stamp(path) == STAMP


def test_it_stands_for_one_run_s_generation() -> None:
    assert STAMP.is_of(GENERATION)
    assert not STAMP.is_of(replace(GENERATION, run_id="other"))
    assert not STAMP.is_of(replace(GENERATION, number=4))
    assert not STAMP.is_of(None)
