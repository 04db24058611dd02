"""A process of its own that is talked to: a JSON object a line for an order, and for its answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

__all__ = ["Child"]

_SUPPORT = Path(__file__).parents[1]
_PROJECT = Path(__file__).parents[3]


class Child:
    """A module's process, started in the project. Use it in a ``with``.

    Args:
        module: the module, by its name.
        words: its arguments.
        environment: variables for it, besides this process's own.
        log: where what it prints to stderr is appended; None: it goes where this process's goes.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self._words = [sys.executable, "-m", module, *words]
        self._environment = dict(environment or {})
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(_PROJECT), str(_SUPPORT)])
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("a")) if self._log is not None else None
            self._process = subprocess.Popen(
                self._words,
                cwd=_PROJECT,
                env={**os.environ, **self._environment, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(self, *_why: object) -> None:
        assert self._process is not None
        # It ends with its input.
        self._process.__exit__(None, None, None)

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order and wait for the answer."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer
