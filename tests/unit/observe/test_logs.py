"""Structured logs: what a line holds, who writes them, and that a log costs no night."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platemill.observe.logs import LOG, log_fields, run_log

LOGGER = logging.getLogger("platemill.launch.somewhere")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_a_line_says_when_where_what_and_of_which_run_and_shard(tmp_path: Path) -> None:
    with run_log(tmp_path, "r1", "text", part="job"):
        LOGGER.info("shard %s is recorded", "k", extra={"shard": "k", "node": "n", "worker": "w1"})
        with log_fields(shard="q"):
            LOGGER.warning("it is slow: ü\n2")
        LOGGER.debug("of no interest")
        logging.getLogger("someone.else").info("of no interest either")
        logging.getLogger("someone.else").warning("but this")
    LOGGER.warning("after its end")
    first, second, third = lines(tmp_path)
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "platemill.launch.somewhere",
        "message": "shard k is recorded",
        "run_id": "r1",
        "part": "job",
        "shard": "k",
        "node": "n",
        "worker": "w1",
    }
    assert (second["message"], second["shard"], second["level"]) == (
        "it is slow: ü\n2",
        "q",
        "WARNING",
    )
    assert (third["message"], third["run_id"]) == ("but this", "r1")
    assert "shard" not in third


def test_an_exception_is_one_line(tmp_path: Path) -> None:
    with run_log(tmp_path, "r1", "text"):
        try:
            raise ValueError("no such thing")
        except ValueError:
            LOGGER.exception("it failed")
    (line,) = lines(tmp_path)
    assert line["message"] == "it failed"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: no such thing")


def test_a_log_that_cannot_be_written_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_log(tmp_path / "gone", "r1", "text"):
        LOGGER.info("hello")
    assert "Traceback" not in capsys.readouterr().err


_PROGRAM = """
import logging, sys
from pathlib import Path
from platemill.observe.logs import JOB_TEXT, run_log, say
if sys.argv[2] == "configured":
    logging.basicConfig(level=logging.WARNING, format="before: %(message)s")
text = JOB_TEXT if sys.argv[2] == "job" else None
with run_log(Path(sys.argv[1]), "r1", sys.argv[3], text=text):
    logging.getLogger("ray_jobs.recognize").info("hello")
    say("platemill.progress", "recognise: 5 of 9", done=5)
logging.getLogger("platemill").warning("bye")
"""


def stderr_of(folder: Path, kind: str, form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), kind, form],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()


def test_stderr_is_text_or_json_as_it_was_chosen(tmp_path: Path) -> None:
    hello, progress, bye = stderr_of(tmp_path, "job", "text")
    assert hello.endswith(" INFO hello")
    assert (progress, bye) == ("recognise: 5 of 9", "bye")
    for kind in ("job", "configured"):
        hello, progress, bye = stderr_of(tmp_path, kind, "json")
        assert json.loads(hello)["message"] == "hello"
        assert json.loads(hello)["run_id"] == "r1"
        assert json.loads(progress)["done"] == 5
        assert json.loads(progress)["run_id"] == "r1"
        assert bye == ("before: bye" if kind == "configured" else "bye")
    assert stderr_of(tmp_path, "configured", "text") == [
        "before: hello",
        "recognise: 5 of 9",
        "before: bye",
    ]
    # Progress is in the journal already.
    assert [line["message"] for line in lines(tmp_path)] == ["hello"] * 4
