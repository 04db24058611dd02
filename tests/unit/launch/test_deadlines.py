"""A stage that takes too long is stopped, whatever it is doing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small_lake import settings_for

from platemill.errors import ConfigurationError, StageTimeout
from platemill.lake import open_lake
from platemill.launch.deadlines import Interrupted, deadline, interrupt
from platemill.settings import load_settings
from platemill.warehouse.duck import connect

FOREVER = 60.0


def test_a_stage_in_time_is_left_alone() -> None:
    with deadline("facts", 30.0):
        done = 1
    with deadline("facts", None):
        done += 1
    assert done == 2


def test_a_stage_that_waits_is_stopped_and_cleans_up() -> None:
    cleaned = []
    started = time.monotonic()
    said = r"stage recognise took longer than 0.2 s.*recognise=S"
    with pytest.raises(StageTimeout, match=said), deadline("recognise", 0.2):
        try:
            while True:
                time.sleep(0.05)
        except BaseException as error:
            cleaned.append(type(error))
            raise
    assert cleaned == [Interrupted]
    assert time.monotonic() - started < FOREVER


def test_a_handler_of_errors_does_not_swallow_it() -> None:
    with pytest.raises(StageTimeout), deadline("recognise", 0.2):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                raise AssertionError("it was taken for an error") from None


def test_a_query_of_duckdb_is_interrupted(tmp_path: Path) -> None:
    """It is one call into C, which no exception reaches."""
    lake = open_lake(settings_for(tmp_path))
    started = time.monotonic()
    with pytest.raises(StageTimeout), deadline("tiles", 0.3), connect(lake) as connection:
        connection.execute("SELECT count(*) FROM range(10_000_000_000) a, range(1_000) b")
    assert time.monotonic() - started < FOREVER


def test_another_threads_query_goes_on(tmp_path: Path) -> None:
    lake = open_lake(settings_for(tmp_path))
    counted = []

    def count() -> None:
        with connect(lake) as connection:
            query = "SELECT count(*) FROM range(30_000_000) WHERE hash(range) % 2 = 7"
            counted.append(connection.execute(query).fetchall())

    other = threading.Thread(target=count)
    other.start()
    with pytest.raises(StageTimeout), deadline("tiles", 0.1):
        while True:
            time.sleep(0.01)
    other.join()
    assert counted == [[(0,)]]


def test_a_stage_that_fails_by_itself_fails_with_its_own_error() -> None:
    with pytest.raises(ConfigurationError), deadline("plan", 30.0):
        raise ConfigurationError("wrong")


def test_a_thread_can_be_interrupted_from_outside() -> None:
    ended = []

    def work() -> None:
        try:
            while True:
                time.sleep(0.01)
        except Interrupted:
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert thread.ident is not None
    interrupt(thread.ident)
    thread.join(FOREVER)
    assert ended == [True]


# Blocks in a call that nothing interrupts but the process's end, as a dead file system does.
STUCK = """
import ctypes, pathlib, sys
from platemill.launch.deadlines import deadline

def say(error):
    pathlib.Path(sys.argv[1]).write_text(str(error))

with deadline("publish", 0.2, say, grace_seconds=0.5):
    ctypes.CDLL(None).sleep(1000)
"""


def test_what_cannot_be_stopped_ends_with_its_process_and_says_why(tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(said)], check=False, timeout=FOREVER, capture_output=True
    )
    assert done.returncode == 4
    assert said.read_text().startswith("stage publish took longer than 0.2 s")


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, stage_timeouts="recognise=90.5, publish=0")
    assert settings.stage_seconds("recognise") == 90.5
    assert settings.stage_seconds("publish") is None
    assert settings.stage_seconds("plan") == 7200
    assert json.loads(settings.model_dump_json())["stage_timeouts"] == "recognise=90.5, publish=0"


@pytest.mark.parametrize("given", ["recognize=5", "plan", "plan=soon", "plan=-1", "plan=inf"])
def test_a_limit_that_cannot_be_meant_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigurationError, match=given):
        load_settings(home=tmp_path, stage_timeouts=given)
