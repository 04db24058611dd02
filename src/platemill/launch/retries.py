"""Which failures of a stage are tried again, how often, and after which pauses: all of it, here.

What trying again cannot mend is tried once: a wrong setting, a failed check, a full disk, a lease
that another run has. Requests to a bucket have tries of their own, within one attempt at a stage
(``platemill.lake.trials``); so have shards, within one job.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from platemill.errors import (
    DiskFull,
    GenerationConflict,
    LeaseHeld,
    LeaseLost,
    RetryableError,
    ServerUnavailable,
    ShardsIncomplete,
    StageTimeout,
)
from platemill.lake.storage import plain

__all__ = ["POLICIES", "Policy", "policy_of", "retried"]

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Policy:
    """How often something is tried, and how long is waited in between.

    Attributes:
        attempts: the first one counts.
        first: seconds before the second attempt; each further pause is twice as long.
        longest: seconds that no pause exceeds.
    """

    attempts: int
    first: float = 0.0
    longest: float = 300.0

    def pause(self, failed: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after so many failures: half of them are left to chance.

        Many runs that failed by the same trouble do not come back at the same moment.
        """
        whole = min(self.longest, self.first * 2.0 ** (failed - 1))
        return whole * (0.5 + 0.5 * chance())


ONCE: Final = Policy(1)

POLICIES: Final = MappingProxyType(
    {
        # Ray, Triton or a store is starting, restarting or swamped.
        ServerUnavailable: Policy(4, 5.0),
        # A job died; what it had recorded is kept.
        ShardsIncomplete: Policy(3, 10.0),
        # Nobody makes room, lets a lease go or shortens a stage in some seconds.
        DiskFull: ONCE,
        LeaseHeld: ONCE,
        StageTimeout: ONCE,
        # The facts have to be merged again first, which the flow does.
        GenerationConflict: ONCE,
        # Who lost a lease must not go on.
        LeaseLost: ONCE,
        RetryableError: Policy(2, 10.0),
        OSError: Policy(2, 5.0),
        # Wrong settings, failed checks and mistakes in the program.
        Exception: ONCE,
    }
)
"""The policy of an error is that of the nearest class above it."""


def policy_of(error: Exception) -> Policy:
    """What is done about an error; one of a full disk is known whatever its class."""
    kinds: tuple[type[Any], ...] = type(plain(error, "the home")).__mro__
    return next(POLICIES[kind] for kind in kinds if kind in POLICIES)


def retried(
    stage: str,
    attempt: Callable[[], _Answer],
    log: Callable[[str], object],
    sleep: Callable[[float], object] | None = None,
) -> _Answer:
    """Make attempts at a stage until one succeeds or its error is not worth another.

    Args:
        stage: its name, for the log.
        attempt: makes one; safe to repeat.
        log: told in a line why and when there is another attempt.
        sleep: waits for some seconds; default: it really does.
    """
    failed = 0
    while True:
        try:
            return attempt()
        except Exception as error:
            failed += 1
            policy = policy_of(error)
            if failed >= policy.attempts:
                raise
            seconds = policy.pause(failed)
            why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            log(
                f"{stage} failed ({why}); attempt {failed + 1} of {policy.attempts} "
                f"in {seconds:.0f} s"
            )
            (sleep or _wait)(seconds)


def _wait(seconds: float) -> None:
    """Sleep in short pieces, so that an exception that another thread raises here gets in."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
