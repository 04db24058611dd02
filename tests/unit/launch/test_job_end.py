"""How a job ended, told from its own record and from what Ray says of its process."""

from pathlib import Path

import pytest

from platemill.errors import CheckFailed, RetryableError, ShardsIncomplete
from platemill.launch import jobs
from platemill.launch.records import write_exit

KILLED = "FAILED: job process ended with exit code 137"


def end(folder: Path, message: str | None) -> None:
    """Judge a job whose record is in a folder."""
    jobs._raise_failure("platemill-r", message, folder, folder / "recognize.log")


def test_a_job_that_said_that_all_is_well_may_be_killed_afterwards(tmp_path: Path) -> None:
    write_exit(tmp_path, None)
    end(tmp_path, KILLED)


def test_a_job_that_died_without_a_word_is_done_again(tmp_path: Path) -> None:
    with pytest.raises(ShardsIncomplete, match="137"):
        end(tmp_path, KILLED)


def test_what_the_job_said_is_what_counts(tmp_path: Path) -> None:
    write_exit(tmp_path, CheckFailed("a reason"))
    with pytest.raises(CheckFailed, match="a reason"):
        end(tmp_path, KILLED)


def test_a_job_that_was_stopped_is_done_again(tmp_path: Path) -> None:
    with pytest.raises(RetryableError, match="stopped from outside"):
        end(tmp_path, "STOPPED: by somebody")
