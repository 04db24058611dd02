"""Nights in processes of their own that start at once: forks of a process that imported everything.

``python -m chaos.nights`` reads orders, a JSON object a line, and answers each with one:

``{"start": {...}}``    forks a process that runs one night, answers ``{"pid": …}``
``{"wait": pid, "seconds": s}``  waits that long for its end, answers ``{"code": …}``: negative if a
                        signal ended it, null if it goes on

A night is the flow's own function with its tasks called directly: the order and the conflict's
handling are the flow's, Prefect's engine and its retries are not there.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import inspect
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chaos.talk import Child

if TYPE_CHECKING:
    from platemill.settings import Settings

__all__ = ["NightServer"]

# How long the flow asks a Jobs API that does not answer; a minute in a real night.
_LOST_SECONDS = 3.0


class NightServer(Child):
    """Starts nights. Use it in a ``with``.

    Args:
        environment: variables for all of them, besides this process's own.
        log: where what they print is appended.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__("chaos.nights", environment=environment, log=log)

    def __enter__(self) -> Self:
        super().__enter__()
        assert self.ask({"hello": True}) == {"hello": True}
        return self

    def start(self, **order: Any) -> int:
        """Start a night; returns its process id. See ``_obey`` for what an order holds."""
        return int(self.ask({"start": order})["pid"])

    def wait(self, pid: int, seconds: float) -> int | None:
        """Wait for a night's end; its exit code, negative after a signal; None: it goes on."""
        code: int | None = self.ask({"wait": pid, "seconds": seconds})["code"]
        return code


def _obey(order: Mapping[str, Any]) -> int:
    """Do what an order says: ``settings``, ``archive``, ``environment`` and ``command``.

    ``night``; ``recognise``, a night that is killed when every shard is recorded; ``rollback`` to
    generation 1; ``vacuum`` of all but the newest; ``compare`` the online store with the tiles.
    ``clock``: seconds by which the process's wall clock jumps.

    The exit code is that of ``platemill run``; 70 if something else was raised.
    """
    os.environ.update(order.get("environment", {}))
    from platemill import failpoints
    from platemill.errors import PlatemillError
    from platemill.launch import jobs
    from platemill.launch.generations import roll_back, vacuum
    from platemill.launch.night import new_run_id
    from platemill.launch.stages import Night
    from platemill.settings import load_settings

    if order.get("clock"):
        _let_the_clock_jump(order["clock"])
    given = order["settings"]
    failpoints._FOLDER = Path(given["failpoints"]) if given.get("failpoints") else None
    jobs._LOST_SECONDS = _LOST_SECONDS
    try:
        settings = load_settings(**given)
        if order.get("command") == "compare":
            return _compare(settings)
        if order.get("command") == "rollback":
            roll_back(settings, 1, dry_run=False, log=print)
            return 0
        if order.get("command") == "vacuum":
            vacuum(settings, keep=1, staged_days=0.0, dry_run=False, log=print)
            return 0
        night = Night.new(settings, new_run_id(), [order["archive"]], None)
        night.repair()
        night.inventory()
        night.plan()
        if not night.has_work():
            night.finish()
            return 0
        if order.get("command") == "recognise":
            with night.holding(print):
                night.recognise(lambda _progress: None)
                # As hard as a crash: what a night gives back at its end is not given back.
                os.kill(os.getpid(), signal.SIGKILL)
        os.environ.update(settings.environment())
        _flow()(run_id=night.run_id)
    except PlatemillError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 70
    return 0


def _let_the_clock_jump(most: float) -> None:
    """Let every look at the wall clock be wrong by another part of ``most`` seconds."""
    dice = random.Random(most)
    right = dt.datetime

    class AsRight(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, right)

    class Wrong(right, metaclass=AsRight):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return right.now(tz) + dt.timedelta(seconds=most * dice.random())

    clock = types.SimpleNamespace(**{**vars(dt), "datetime": Wrong})
    wrong = {id(right): Wrong, id(dt): clock}
    for name, module in list(sys.modules.items()):
        if name.startswith(("platemill", "flows")):
            for known, value in list(vars(module).items()):
                if id(value) in wrong:
                    setattr(module, known, wrong[id(value)])


class _NoPage:
    """Where the flow has a progress artifact."""

    def __init__(self, *_given: object) -> None:
        pass

    def __enter__(self) -> _NoPage:
        return self

    def __exit__(self, *_why: object) -> None:
        pass

    def show(self, step: object) -> None:
        """Nobody looks."""


def _flow() -> Any:
    """The flow's function, its stages as plain functions."""
    from flows import night_page
    from flows import nightly as module

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    for name, value in list(vars(module).items()):
        # A stage's attempts are Prefect's; what they call is under them.
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            bare = getattr(value, "__wrapped__", value)
            # What a context manager is made of is no context manager.
            setattr(module, name, value if inspect.isgeneratorfunction(bare) else bare)
    vars(module)["ProgressPage"] = _NoPage
    vars(module)["get_run_logger"] = lambda: logging.getLogger("night")
    vars(module)["create_markdown_artifact"] = lambda **_given: None
    vars(module)["create_table_artifact"] = lambda **_given: None
    # Seconds a night, and nothing of it is a night's state.
    for page in (module, night_page):
        vars(page)["write_page"] = lambda *_given: ""
    vars(night_page)["create_markdown_artifact"] = lambda **_given: None
    return module.nightly.fn


def _import_all() -> None:
    """What a night imports, so that a fork has it."""
    import duckdb  # noqa: F401
    import feast  # noqa: F401
    import ray.job_submission  # noqa: F401

    import platemill.features.definitions
    import platemill.features.gate
    import platemill.features.online
    import platemill.features.staging
    import platemill.features.store
    import platemill.launch.generations
    import platemill.launch.stages  # noqa: F401


def _compare(settings: Settings) -> int:
    """Compare the published online store with the tiles; 3 if they differ."""
    from platemill.features.gate import compare_published

    compare_published(settings)
    return 0


def _wait(pid: int, seconds: float, ended: dict[int, int]) -> int | None:
    """A child's exit code, if it ends in time; may be asked again."""
    deadline = time.monotonic() + seconds
    while pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= deadline:
            return None
        else:
            time.sleep(0.01)
    return ended[pid]


def _main() -> int:
    _import_all()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a night prints goes to the log
    ended: dict[int, int] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            pid = os.fork()
            if pid == 0:
                code = 70
                with contextlib.suppress(BaseException):
                    os.setpgid(0, 0)
                    code = _obey(order["start"])
                sys.stderr.flush()
                os._exit(code)
            # The number may have been that of a night long ago.
            ended.pop(pid, None)
            answer = {"pid": pid}
        elif "wait" in order:
            answer = {"code": _wait(order["wait"], order["seconds"], ended)}
        else:
            answer = order
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
