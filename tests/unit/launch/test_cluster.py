"""The private cluster's own conduct, with a small command where Ray's would be."""

import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from platemill.errors import ConfigurationError, ServerUnavailable
from platemill.launch.clusters import private as module
from platemill.launch.clusters.private import PrivateCluster


def with_command(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    command = [sys.executable, "-c", code]
    monkeypatch.setattr(PrivateCluster, "_command", lambda self: command)


def test_a_cluster_that_ends_while_it_starts_says_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_command(monkeypatch, "print('port is taken'); raise SystemExit(1)")
    with pytest.raises(ServerUnavailable, match="port is taken"):
        PrivateCluster(tmp_path, 60).start()
    said = (tmp_path / "ray" / "start.log").read_text()
    assert said.count("port is taken") == 2, "it is tried once more, with other ports"


def test_a_cluster_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_command(monkeypatch, "import time; time.sleep(1000)")
    cluster = PrivateCluster(tmp_path, 1.5)
    cluster.launch()
    assert cluster.keeper_pid is not None
    keeper = psutil.Process(cluster.keeper_pid)
    with pytest.raises(ServerUnavailable, match="PLATEMILL_RAY_START_SECONDS"):
        cluster.wait()
    assert not keeper.is_running()
    assert cluster.keeper_pid is None
    cluster.stop()


def test_its_variables_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_REDIS_ADDRESS", "10.0.0.2:6379")
    with_command(
        monkeypatch,
        "import os; print(*sorted(k for k in os.environ if k.startswith('RAY_'))); "
        "raise SystemExit(1)",
    )
    first, second = PrivateCluster(tmp_path, 60), PrivateCluster(tmp_path, 60)
    assert first.environment["RAY_AUTH_TOKEN"] != second.environment["RAY_AUTH_TOKEN"]
    with pytest.raises(ServerUnavailable):
        first.start()
    said = (tmp_path / "ray" / "start.log").read_text().split()
    assert "RAY_AUTH_TOKEN" in said
    assert "RAY_ADDRESS" not in said
    assert "RAY_REDIS_ADDRESS" not in said


def test_a_long_folder_for_sockets_is_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = module._short_folder()
    try:
        assert len(str(folder)) <= 32
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        folder.rmdir()


def test_no_folder_for_sockets_is_said_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_FOLDER", 3)
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        module._short_folder()
