"""Structured logs: ``runs/R/log.jsonl``, a JSON object a line, from the flow and the job's driver.

A worker has a file of its own, ``log-HOST-PID.jsonl``, for it may be on another machine.

A line has ``time, level, logger, message``, the run's id, whatever the record was given as
``extra`` (``shard``, ``node`` and ``worker`` in a job), what `log_fields` says where it was
logged, and ``exception`` if there was one.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TextIO

from platemill.documents import append_line
from platemill.settings import LogFormat

__all__ = ["JOB_TEXT", "LOG", "JsonLines", "log_fields", "run_log", "say"]

LOG: Final = "log.jsonl"

JOB_TEXT: Final = "%(asctime)s %(levelname)s %(message)s"
"""How a job's lines look on stderr."""

_OURS: Final = ("flows", "platemill", "ray_jobs")

_USUAL: Final = {*vars(logging.makeLogRecord({})), "asctime", "message", "color_message"}
_stderr: logging.Formatter | None = None
_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("platemill_log_fields")


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Add fields to every record that is logged inside, in this thread."""
    token = _FIELDS.set({**_FIELDS.get({}), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)


class JsonLines(logging.Formatter):
    """A record as a line of JSON.

    Args:
        fields: what every line has, the run's id say.
    """

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        extra = {
            name: value
            for name, value in vars(record).items()
            # Ray marks records with names that begin so, for itself.
            if name not in _USUAL
            and not name.startswith("_")
            and isinstance(value, str | int | float | bool)
        }
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        said: dict[str, object] = {
            "time": at.isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {**self._fields, **_FIELDS.get({}), **extra}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def say(logger: str, message: str, **fields: object) -> None:
    """Print a line on stderr: text, which Prefect keeps if it is in a flow, or JSON."""
    if _stderr is None:
        print(message, file=sys.stderr, flush=True)
        return
    said = {"name": logger, "levelname": "INFO", "msg": message, **fields}
    # What is printed in a flow becomes a record of Prefect's, and its fields part of a text.
    sys.stderr.write(_stderr.format(logging.makeLogRecord(said)) + "\n")
    sys.stderr.flush()


class _RunLog(logging.Handler):
    """Adds to a run's log. A log that cannot be written, on a full disk say, ends nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        try:
            append_line(self._path, self.format(record).encode("utf-8", "replace"))
        except OSError:
            return


@contextmanager
def run_log(
    folder: Path,
    run_id: str,
    form: LogFormat,
    *,
    text: str | None = None,
    name: str = LOG,
    **fields: object,
) -> Iterator[None]:
    """Keep in the run's log what this process logs inside, from INFO on.

    Args:
        folder: the run's folder.
        run_id: the run, for every line.
        form: ``json`` makes what goes to stderr JSON lines, too; ``text`` leaves it as it is.
        text: format of stderr's lines for a process that has none yet; None: stderr is not ours.
        name: the file's name, for who is one of many on machines that share the folder.
        fields: what else every line has.
    """
    global _stderr
    root = logging.getLogger()
    lines = JsonLines(run_id=run_id, **fields)
    before, _stderr = _stderr, lines if form == "json" else None
    kept = _RunLog(folder / name)
    kept.setFormatter(lines)
    with ExitStack() as undo:
        undo.callback(_restore, before)
        for name in _OURS:
            logger = logging.getLogger(name)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.INFO)
                undo.callback(logger.setLevel, logging.NOTSET)
        if text is not None or form == "json":
            _speak(root, lines if form == "json" else logging.Formatter(text), undo)
        root.addHandler(kept)
        undo.callback(root.removeHandler, kept)
        yield


def _restore(formatter: logging.Formatter | None) -> None:
    global _stderr
    _stderr = formatter


def _speak(root: logging.Logger, formatter: logging.Formatter, undo: ExitStack) -> None:
    """Put one handler of ours in the place of those that write to stderr."""
    stderr: logging.StreamHandler[TextIO] = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(formatter)
    before = [handler for handler in root.handlers if _is_on_stderr(handler)]
    for handler in before:
        root.removeHandler(handler)
        undo.callback(root.addHandler, handler)
    root.addHandler(stderr)
    undo.callback(root.removeHandler, stderr)


def _is_on_stderr(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (
        sys.stderr,
        sys.__stderr__,
    )
