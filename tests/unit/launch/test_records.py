from pathlib import Path

import pytest

from platemill.errors import ConfigurationError, ServerUnavailable, ShardsIncomplete
from platemill.launch.records import (
    JobProgress,
    clear_records,
    read_exit,
    read_progress,
    read_tried,
    write_exit,
    write_progress,
    write_tried,
)


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    progress = JobProgress(shards_done=1, shards_total=2, images_done=10, images_total=20, plates=7)
    write_progress(tmp_path, progress)
    assert read_progress(tmp_path) == progress
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_tries_of_runs_before_add_up_and_outlive_an_attempt_of_the_job(tmp_path: Path) -> None:
    assert read_tried(tmp_path) == {}
    write_tried(tmp_path, {"file:///a": 1, "file:///b": 2})
    write_tried(tmp_path, {"file:///b": 3})
    clear_records(tmp_path)
    assert read_tried(tmp_path) == {"file:///a": 1, "file:///b": 3}


@pytest.mark.parametrize("kind", [ConfigurationError, ServerUnavailable, ShardsIncomplete])
def test_an_error_comes_back_as_what_it_was(tmp_path: Path, kind: type[Exception]) -> None:
    write_exit(tmp_path, kind("what happened"))
    recorded, error = read_exit(tmp_path)
    assert recorded
    assert type(error) is kind
    assert str(error) == "what happened"


def test_an_error_of_others_is_final(tmp_path: Path) -> None:
    write_exit(tmp_path, KeyError("x"))
    _, error = read_exit(tmp_path)
    assert error is not None
    assert error.exit_code == 1
    assert "KeyError" in str(error)


def test_a_good_end_and_none_are_told_apart(tmp_path: Path) -> None:
    assert read_exit(tmp_path) == (False, None)
    write_exit(tmp_path, None)
    assert read_exit(tmp_path) == (True, None)
    clear_records(tmp_path)
    assert read_exit(tmp_path) == (False, None)
