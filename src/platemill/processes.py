"""What Linux can promise about processes: to end with their parent, to adopt who lost theirs."""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = ["adopt_orphans", "end_with_parent"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def end_with_parent(number: signal.Signals, parent: int | None = None) -> None:
    """Let the kernel send this process a signal when its parent ends, however that happens.

    Args:
        number: the signal.
        parent: the parent's process id, if it is known: should it have ended before this call,
            the signal is sent at once.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends (a subreaper)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
