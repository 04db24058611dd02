"""A run's journal: several write, somebody is cut off, and what was written is read."""

from __future__ import annotations

import datetime as dt
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from platemill.journal import JOURNAL, Journal, read_journal

_WRITER = """
import sys
from pathlib import Path
from platemill.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(300):
    journal.write("shard", key=f"{sys.argv[2]}-{number}", why="x" * (number * 37 % 5000))
"""


def test_what_is_written_is_read_in_order_with_its_time(tmp_path: Path) -> None:
    before = dt.datetime.now(dt.UTC)
    journal = Journal(tmp_path)
    journal.write("node_up", node="n1", cpus=4, gpus=0.5)
    journal.write("shard", key="k", day=dt.date(2026, 5, 4), began=before, why=None)
    first, second = read_journal(tmp_path)
    assert before <= dt.datetime.fromisoformat(first.pop("at")) <= dt.datetime.now(dt.UTC)
    assert first == {"event": "node_up", "node": "n1", "cpus": 4, "gpus": 0.5}
    assert second["day"] == "2026-05-04"
    assert dt.datetime.fromisoformat(second["began"]) == before
    assert second["began"].endswith("+00:00")
    assert second["why"] is None


def test_a_run_without_a_journal_has_no_events(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == []
    assert read_journal(tmp_path / "gone") == []


def test_several_processes_write_and_no_line_is_lost_or_mixed(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), name]) for name in "abcd"
    ]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        # Whoever reads meanwhile sees whole events only, and never fewer than before.
        now = len(read_journal(tmp_path))
        assert now >= seen
        seen = now
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    keys = [event["key"] for event in read_journal(tmp_path)]
    assert sorted(keys) == sorted(f"{name}-{number}" for name in "abcd" for number in range(300))
    for name in "abcd":
        assert [key for key in keys if key.startswith(name)] == [
            f"{name}-{number}" for number in range(300)
        ]


@pytest.mark.parametrize("torn", [b'{"at": "2026-05-04T01:00', b'{"at": 1, "event": "shard"', b"{"])
def test_a_line_that_was_cut_off_is_passed_over_and_spoils_no_other(
    tmp_path: Path, torn: bytes
) -> None:
    journal = Journal(tmp_path)
    journal.write("shard", key="a")
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(torn)
    assert [event["key"] for event in read_journal(tmp_path)] == ["a"]
    Journal(tmp_path).write("shard", key="b")
    journal.write("shard", key="c")
    assert [event["key"] for event in read_journal(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("line", [b"", b"\xff\x00\xfe", b"[1, 2]", b'"shard"', b'{"key": 1}', b"7"])
def test_lines_that_are_no_events_are_passed_over(tmp_path: Path, line: bytes) -> None:
    journal = Journal(tmp_path)
    journal.write("shard", key="a")
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(line + b"\n")
    journal.write("shard", key="b")
    assert [event["key"] for event in read_journal(tmp_path)] == ["a", "b"]


def test_a_journal_that_cannot_be_written_is_said_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        journal.write("shard", key="a")
        journal.write("shard", key="b")
    assert [record.getMessage().count("cannot be written") for record in caplog.records] == [1]
