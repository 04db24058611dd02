"""What Linux can tell and promise about processes: which one it was, and how it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["ProcessIdentity", "adopt_orphans", "end_with_parent"]

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


@dataclass(frozen=True)
class ProcessIdentity:
    """Which process it is, for others on the same machine; a number alone is used again.

    Attributes:
        boot: the kernel's id of this start of the machine.
        namespace: the namespace in which ``pid`` counts.
        pid: process id.
        started: when it started, in clock ticks since the machine did.
    """

    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def own(cls) -> Self:
        """The identity of the process that asks."""
        pid = os.getpid()
        started = _started(pid)
        assert started is not None
        return cls(*_place(), pid, started)

    def is_here(self) -> bool:
        """Whether it is a process of this machine, so that its end can be seen."""
        return (self.boot, self.namespace) == _place()

    def is_gone(self) -> bool:
        """Whether it has certainly ended. Of another machine's process nobody can tell."""
        return self.is_here() and _started(self.pid) != self.started


def _place() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return boot, str(Path("/proc/self/ns/pid").readlink())


def _started(pid: int) -> int | None:
    """When a process started; None if there is none, or one that only waits to be buried."""
    try:
        # The name in the second field may hold anything, parentheses too.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
