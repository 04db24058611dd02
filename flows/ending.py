"""How the process of a flow ends: soon after its work, whatever Prefect still waits for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

__all__ = ["ended_in_time"]


def ended_in_time(main: Callable[[], int], seconds: float = 30.0) -> int:
    """Do a process's work, and let the interpreter take no longer to exit than some seconds.

    Prefect drains its logs and events at exit, without a limit if its server is gone meanwhile.

    Args:
        main: the work; returns the exit code, or raises ``SystemExit``.
        seconds: how long the exit may take.
    """
    code = 1
    try:
        code = main()
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    finally:
        watchdog = threading.Timer(seconds, _leave, (code,))
        watchdog.daemon = True
        watchdog.start()
    return code


def _leave(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)
