"""CPU time and memory of a family of processes over time, so that any span of it can be asked."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import psutil

_TICK = os.sysconf("SC_CLK_TCK")


class Watch:
    """Samples the CPU seconds and the proportional memory of process trees in a thread.

    A process that has ended keeps what it had used when it was seen last.

    Args:
        roots: the processes whose descendants are meant, with themselves but for this one; asked
            anew every time.
        seconds: between samples.
        memory_seconds: between samples of memory, which cost milliseconds a process; 0: none.
    """

    def __init__(
        self,
        roots: Callable[[], Iterable[int]],
        seconds: float = 0.4,
        *,
        memory_seconds: float = 0.0,
    ) -> None:
        self._roots = roots
        self._seconds = seconds
        self._memory_seconds = memory_seconds
        self._used: dict[tuple[int, int], float] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._each: list[dict[tuple[int, int], float]] = []
        self.times: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def used(self, began: float, ended: float) -> float:
        """CPU seconds between two times (``time.time``)."""
        return self._at(ended) - self._at(began)

    def by_process(self, began: float, ended: float) -> dict[str, float]:
        """CPU seconds between two samples near these times, by what the processes are called."""
        first, last = (
            self._each[min(bisect_left(self.times, when), len(self.times) - 1)]
            for when in (began, ended)
        )
        used: dict[str, float] = {}
        for process, seconds in last.items():
            name = self._names[process]
            used[name] = used.get(name, 0.0) + seconds - first.get(process, 0.0)
        return dict(sorted(used.items(), key=lambda item: -item[1]))

    def _at(self, when: float) -> float:
        place = bisect_left(self.times, when)
        if place == 0 or place == len(self.times):
            return self.cpu[min(place, len(self.cpu) - 1)]
        before, after = self.times[place - 1], self.times[place]
        share = (when - before) / (after - before)
        return self.cpu[place - 1] + share * (self.cpu[place] - self.cpu[place - 1])

    def _watch(self) -> None:
        try:
            self._sample()
        except Exception as failure:
            self._failure = failure

    def _sample(self) -> None:
        while True:
            last = self._ended.wait(self._seconds)
            family = self._family()
            for pid, fields in family.items():
                process = (pid, int(fields[19]))
                self._used[process] = (int(fields[11]) + int(fields[12])) / _TICK
                self._names[process] = _name(pid) or self._names.get(process, "")
            self.times.append(time.time())
            self._each.append(dict(self._used))
            self.cpu.append(sum(self._used.values()))
            due = self.memory[-1][0] + self._memory_seconds if self.memory else 0.0
            if self._memory_seconds and self.times[-1] >= due:
                self.memory.append((time.time(), sum(map(_proportional, family))))
            if last:
                return

    def _family(self) -> dict[int, list[str]]:
        """The fields of /proc/PID/stat behind the name, of every process that is meant."""
        known: dict[int, list[str]] = {}
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    known[int(entry.name)] = fields
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found: dict[int, list[str]] = {}
        waiting = list(self._roots())
        while waiting:
            pid = waiting.pop()
            if pid in known and pid not in found:
                found[pid] = known[pid]
                waiting += parents.get(pid, [])
        # Who measures does not count.
        found.pop(os.getpid(), None)
        return found


def _proportional(pid: int) -> int:
    """Bytes of memory of a process; what it shares is divided by those that share it."""
    with contextlib.suppress(psutil.Error, OSError):
        return int(psutil.Process(pid).memory_full_info().pss)
    return 0


def _name(pid: int) -> str:
    """What a process is, in a few words: its model, actor, script or program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    program = Path(words[0]).name
    if program == "triton_python_backend_stub":
        model = next((word for word in words if word.endswith("model.py")), "")
        return " ".join(["stub", *Path(model).parts[-3:-2]])
    if words[0].startswith("ray::"):
        return words[0]
    said = [word for word in words[1:] if word.endswith(".py") or "." in word]
    return f"{program} {Path(said[0]).name}" if program.startswith("python") and said else program
