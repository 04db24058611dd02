"""The command ``platemill`` in a process of its own, and all that it starts, known by a mark."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from platemill.errors import PlatemillError

_MARK = "COMMAND_UNDER_TEST"


class MarkedCommand:
    """The command while it runs; its family carries a mark in the environment.

    Args:
        arguments: of ``platemill``.
        variables: of its environment, beside the machine's without ``PLATEMILL_`` and ``PREFECT_``.
        before: a command that starts it, ``unshare`` say.
    """

    def __init__(
        self, *arguments: str | Path, variables: dict[str, str], before: tuple[str, ...] = ()
    ) -> None:
        self._mark = uuid.uuid4().hex
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("PLATEMILL_", "PREFECT_"))
        }
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "platemill", *map(str, arguments)],
            env={**inherited, **variables, _MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def family(self) -> list[psutil.Process]:
        """All that runs with its mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    def end(self, seconds: float = 300.0) -> tuple[int, str]:
        """Wait for its end; its exit code and what it said on stderr. Nothing of it is left."""
        try:
            _, said = self.process.communicate(timeout=seconds)
        finally:
            left = self.family()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        print(said)
        assert left == [], "the command left processes behind"
        return self.process.returncode, said


def refused(*arguments: str | Path, **variables: str) -> tuple[int, str]:
    """Run a command that is to fail; its exit code and the error that it ends with."""
    return error_of(MarkedCommand(*arguments, variables=variables).end())


def error_of(ended: tuple[int, str]) -> tuple[int, str]:
    """The exit code, and what stands behind ``error:``, which is the last that is said."""
    code, said = ended
    assert "\nerror: " in f"\n{said}", said
    error = f"\n{said}".rpartition("\nerror: ")[2].strip()
    assert "Traceback" not in error
    kinds = {kind.__name__: kind for kind in _kinds(PlatemillError)}
    assert kinds[error.split(":")[0]].exit_code == code
    return code, error


def _kinds(kind: type[PlatemillError]) -> list[type[PlatemillError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _kinds(child))]
