"""Which errors are tried again, how often, and after which pauses."""

from __future__ import annotations

import errno

import pytest

from platemill.errors import (
    ArchiveError,
    CheckFailed,
    ConfigurationError,
    DiskFull,
    LeaseHeld,
    LeaseLost,
    RetryableError,
    ServerHangs,
    ServerUnavailable,
    ShardsIncomplete,
    StageTimeout,
)
from platemill.launch.retries import POLICIES, Policy, policy_of, retried


class Stage:
    """Fails with one error after the other, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.attempts = 0
        self.slept: list[float] = []
        self.log: list[str] = []

    def __call__(self) -> str:
        self.attempts += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    def run(self) -> str:
        return retried("recognise", self, self.log.append, self.slept.append)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("PLATEMILL_HOME"),
        ArchiveError("no such folder"),
        CheckFailed("conservation"),
        LeaseHeld("run x"),
        LeaseLost("run x"),
        StageTimeout("recognise"),
        DiskFull("/"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("a mistake in the program"),
    ],
)
def test_what_trying_again_cannot_mend_is_tried_once(error: Exception) -> None:
    stage = Stage(error)
    with pytest.raises(type(error)):
        stage.run()
    assert (stage.attempts, stage.slept, stage.log) == (1, [], [])


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ServerUnavailable("Ray"), 4),
        (ServerHangs("Triton"), 4),
        (ShardsIncomplete("one"), 3),
        (RetryableError("stopped from outside"), 2),
        (OSError(errno.EIO, "Input/output error"), 2),
    ],
)
def test_what_may_pass_is_tried_again_so_often_and_not_more(
    error: Exception, attempts: int
) -> None:
    stage = Stage(*[error] * 9)
    with pytest.raises(type(error)):
        stage.run()
    assert stage.attempts == attempts
    stage = Stage(*[error] * (attempts - 1))
    assert stage.run() == "done"


def test_pauses_grow_twofold_and_half_of_each_is_chance() -> None:
    policy = Policy(9, first=5.0, longest=30.0)
    assert [policy.pause(n, lambda: 1.0) for n in (1, 2, 3, 4, 8)] == [5, 10, 20, 30, 30]
    assert [policy.pause(n, lambda: 0.0) for n in (1, 2, 3)] == [2.5, 5, 10]
    stage = Stage(*[ServerUnavailable("Ray")] * 3)
    assert stage.run() == "done"
    first, second, third = stage.slept
    assert 2.5 <= first <= 5 <= second <= 10 <= third <= 20


def test_a_line_says_why_and_when() -> None:
    stage = Stage(ServerUnavailable("the Jobs API does not answer\nand more"))
    stage.run()
    (line,) = stage.log
    assert "recognise failed (ServerUnavailable: the Jobs API does not answer); attempt 2" in line
    assert "of 4 in" in line


def test_another_error_in_between_counts_by_its_own_policy() -> None:
    stage = Stage(ServerUnavailable("Ray"), ConfigurationError("the token is wrong"))
    with pytest.raises(ConfigurationError):
        stage.run()
    assert stage.attempts == 2


def test_a_subclass_has_the_policy_of_the_nearest_class_above() -> None:
    assert policy_of(ServerHangs("x")) == POLICIES[ServerUnavailable]
    assert policy_of(ArchiveError("x")) == POLICIES[Exception]
    assert policy_of(FileNotFoundError("x")) == POLICIES[OSError]
