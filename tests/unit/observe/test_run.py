"""What is shown of a run while it goes on: served on loopback, found, and gone at its end."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from small_journal import small_night, write_events
from small_lake import settings_for

from platemill.observe.logs import LOG
from platemill.observe.metrics import LAST_RUN, METRICS
from platemill.observe.run import observed, recorded
from platemill.observe.targets import published_target
from platemill.serving.embedded import free_ports
from platemill.settings import Settings

_KILLED = """
import os, signal, sys
from pathlib import Path
from platemill.observe.targets import published_target
from platemill.settings import load_settings
with published_target(load_settings(home=Path(sys.argv[1])), "killed", "127.0.0.1:1", "run"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def prepared(home: Path, *runs: str, **given: object) -> Settings:
    settings = settings_for(home, **given)
    for run in runs:
        (settings.runs / run).mkdir(parents=True)
        write_events(settings.runs / run, small_night())
    return settings


def targets(settings: Settings) -> dict[str, str]:
    """Addresses by the names of the files that Prometheus finds."""
    found = (settings.metrics / "targets").glob("*.json")
    return {path.stem: json.loads(path.read_text())[0]["targets"][0] for path in found}


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def test_two_runs_at_once_are_served_and_found_each_by_itself(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = prepared(tmp_path, "r1", "r2", metrics_port=port)
    with observed(settings, "r1"):
        with observed(settings, "r2"):
            found = targets(settings)
            assert set(found) == {"r1", "r2"}
            assert len(set(found.values())) == 2
            for run, address in found.items():
                assert address.startswith("127.0.0.1:")
                assert f'platemill_run_info{{run_id="{run}"}} 1.0' in fetch(address)
        assert set(targets(settings)) == {"r1"}
    assert targets(settings) == {}
    with pytest.raises(OSError):
        fetch(found["r1"])


@pytest.mark.parametrize("port", [None, 0])
def test_nothing_is_served_unless_it_is_asked_for(tmp_path: Path, port: int | None) -> None:
    settings = prepared(tmp_path, "r1", metrics_port=port)
    with observed(settings, "r1"):
        assert targets(settings) == {}
    assert "platemill_run_succeeded 1.0" in (settings.runs / "r1" / METRICS).read_text()


def test_ports_that_are_all_taken_cost_the_metrics_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 65535))
        taken.listen()
        settings = prepared(tmp_path, "r1", metrics_port=65535)
        with observed(settings, "r1"):
            logging.getLogger("flows").info("on it goes")
    assert "Set PLATEMILL_METRICS_PORT to another" in caplog.text
    assert "on it goes" in (settings.runs / "r1" / LOG).read_text()


def test_a_run_that_failed_says_so_in_its_last_metrics(tmp_path: Path) -> None:
    settings = prepared(tmp_path, "r1")
    with pytest.raises(ValueError, match="why"), recorded(settings, "r1"):
        raise ValueError("why")
    assert "platemill_run_succeeded 0.0" in (settings.metrics / LAST_RUN).read_text()


def test_metrics_that_cannot_be_written_cost_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = prepared(tmp_path, "r1")
    settings.metrics.write_text("in the way")
    with observed(settings, "r1"):
        pass
    assert "the metrics of run r1 cannot be written" in caplog.text


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path) -> None:
    settings = prepared(tmp_path)
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    (settings.metrics / "targets" / "foreign.json").write_text('[{"targets": ["h:1"]}]')
    assert set(targets(settings).values()) == {"127.0.0.1:1", "h:1"}
    with published_target(settings, "mine", "127.0.0.1:2", "run"):
        assert targets(settings) == {"mine": "127.0.0.1:2", "foreign": "h:1"}
