"""A schedule is checked before anything starts: its cron, its archives, its home, its port."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from platemill.errors import ArchiveError, ConfigurationError, LeaseHeld, ServerUnavailable
from platemill.launch.prefect_server import require_port
from platemill.launch.schedule import (
    Cron,
    Service,
    check_service,
    next_lines,
    require_api,
    serve_nights,
)
from platemill.settings import Settings, load_settings

START = dt.datetime(2026, 10, 23, 12, tzinfo=dt.UTC)
HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write("4711")
lock.flush()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def service(archive: Path | str, port: int | None = None) -> Service:
    return Service(Cron("0 2 * * *"), (str(archive),), "schedule", port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_cron_follows_the_clock_of_its_zone() -> None:
    cron = Cron("30 4 * * *", "Europe/Berlin")
    times = cron.next_times(3, START)
    # The night between the second and the third is an hour longer.
    assert [at.astimezone(dt.UTC).hour for at in times] == [2, 3, 3]
    assert next_lines(cron, times[:1]) == ["Sat 2026-10-24 04:30 CEST (2026-10-24 02:30 UTC)"]
    assert next_lines(Cron("@daily"), Cron("@daily").next_times(1, START)) == [
        "Sat 2026-10-24 00:00 UTC"
    ]


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("0 2 * *", "UTC", "has 4 fields, not five"),
        # Prefect would take the sixth for seconds, and fire every second.
        ("0 2 * * * *", "UTC", "has 6 fields, not five"),
        ("every night", "UTC", "has 2 fields, not five"),
        ("61 2 * * *", "UTC", 'Invalid cron string: "61 2 \\* \\* \\*"\\. \'0 2'),
        ("@nightly", "UTC", "Invalid cron string"),
        ("0 2 * * *", "Mars/Olympus", 'Invalid timezone: "Mars/Olympus"'),
        ("0 2 30 2 *", "UTC", "failed to find next date"),
        ("", "UTC", "has 0 fields"),
    ],
)
def test_a_wrong_cron_is_refused_with_the_cure(text: str, zone: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Cron(text, zone)


def test_a_service_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    asked = Service(Cron("@daily", "Asia/Tokyo"), ("/a", "/b.tar"), "mine", 4200, once_now=True)
    asked.save(tmp_path / "service.json")
    assert Service.load(tmp_path / "service.json") == asked


def test_archives_mean_the_same_in_another_folder(
    settings: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    assert check_service(settings, service("photos")).archives == (str(archive),)


def test_what_would_end_the_first_night_ends_the_command(
    settings: Settings, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        check_service(settings, service(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="starts with a slash"):
        layout = settings.model_copy(update={"layout": "/{camera}.jpg"})
        check_service(layout, service(archive))
    with pytest.raises(ConfigurationError, match="is not whole in"):
        models = settings.model_copy(update={"triton_models": tmp_path})
        check_service(models, service(archive))
    with pytest.raises(ConfigurationError, match="/proc/home cannot be written to"):
        check_service(settings.model_copy(update={"home": Path("/proc/home")}), service(archive))
    check_service(settings, service(archive))


def test_a_port_that_is_taken_is_named_with_the_cure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .* --port.*PREFECT_API_URL"):
            require_port(port)
    require_port(port)


def test_a_prefect_api_that_does_not_answer_is_named() -> None:
    with pytest.raises(ServerUnavailable, match=r"refused\. .*unset it"):
        require_api(f"http://127.0.0.1:{free_port()}/api")
    with pytest.raises(ServerUnavailable, match="unknown url type"):
        require_api("nonsense")


def test_a_home_has_one_schedule(settings: Settings, archive: Path) -> None:
    asked = check_service(settings, service(archive, free_port()))
    lock = settings.home / "schedule" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LeaseHeld, match="process 4711 serves nights of"):
            serve_nights(settings, asked, print)
    finally:
        holder.communicate("\n")
