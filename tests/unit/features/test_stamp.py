"""The stamp that tells which night an online store holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from small_lake import NIGHT

from platemill.features.stamp import Stamp, read_stamp, write_stamp
from platemill.lake import Generation

STAMP = Stamp(3, "r3", "p1", "d1")
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


def test_it_stands_for_one_run_s_generation() -> None:
    assert STAMP.is_of(GENERATION)
    assert not STAMP.is_of(replace(GENERATION, run_id="other"))
    assert not STAMP.is_of(replace(GENERATION, number=4))
    assert not STAMP.is_of(None)
