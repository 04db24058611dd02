"""What the flow's process is started with."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from platemill.launch.night import flow_environment, new_run_id
from platemill.settings import load_settings


def test_the_flow_is_quiet_and_its_files_stay_at_home(tmp_path: Path) -> None:
    environment = flow_environment(load_settings(home=tmp_path))
    assert environment["PREFECT_HOME"].startswith(str(tmp_path))
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PLATEMILL_HOME"] == str(tmp_path)


def test_a_proxy_of_the_machine_does_not_see_our_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "internal.example")
    environment = flow_environment(load_settings(home=tmp_path))
    assert environment["NO_PROXY"].split(",") == ["internal.example", "127.0.0.1", "localhost"]


def test_run_ids_sort_by_time() -> None:
    early = new_run_id(dt.datetime(2026, 5, 4, 23, 59, 59, tzinfo=dt.UTC))
    late = new_run_id(dt.datetime(2026, 5, 5, tzinfo=dt.UTC))
    assert early < late
    assert new_run_id() != new_run_id()
