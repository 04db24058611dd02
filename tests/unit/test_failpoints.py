import ast
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from platemill import failpoints
from platemill.failpoints import POINTS, VARIABLE, failpoint

ROOT = Path(__file__).parents[2]
NAME = "shard.record.before"


def names_in_the_code() -> dict[str, list[str]]:
    """Failpoint name → files that pass it; a call without a plain string fails here."""
    found: dict[str, list[str]] = {}
    for folder in ("src", "ray_jobs", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "failpoint":
                    found.setdefault(ast.literal_eval(node.args[0]), []).append(path.name)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(failpoints, "_FOLDER", tmp_path)
    return tmp_path


def arm(folder: Path, **order: object) -> None:
    (folder / f"{NAME}.json").write_text(json.dumps(order))


def test_every_point_in_the_code_is_declared_and_every_declared_one_is_passed():
    assert set(names_in_the_code()) == set(POINTS)


@pytest.mark.parametrize("name", POINTS)
def test_a_name_says_stage_what_and_side(name):
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+\.(before|after)", name)


def test_off_it_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failpoint(NAME)
    failpoint("misspelt")
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_name_fails_while_they_are_on(folder):
    with pytest.raises(LookupError, match="misspelt"):
        failpoint("misspelt")


def test_it_counts_and_only_the_armed_pass_of_one_takes_it(folder):
    arm(folder, action="error", errno=errno.ENOSPC, hit=2)
    failpoint(NAME)
    with pytest.raises(OSError, match=NAME) as seen:
        failpoint(NAME)
    failpoint(NAME)
    assert seen.value.errno == errno.ENOSPC
    assert (folder / f"{NAME}.hits").read_text().split() == [str(os.getpid())] * 3
    assert (folder / f"{NAME}.taken").exists()


def test_many_processes_share_the_count_and_one_is_killed(folder):
    arm(folder, action="kill", hit=30)
    program = f"from platemill.failpoints import failpoint\nfor _ in range(20): failpoint('{NAME}')"
    environment = {**os.environ, VARIABLE: str(folder)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)
    ]
    codes = sorted(process.wait(timeout=60) for process in processes)
    assert codes == [-signal.SIGKILL, 0, 0]
    assert 40 < len((folder / f"{NAME}.hits").read_text().split()) < 60


def test_a_pause_lasts_until_its_file_is_removed(folder):
    arm(folder, action="pause")
    thread = threading.Thread(target=failpoint, args=(NAME,), daemon=True)
    thread.start()
    paused = folder / f"{NAME}.paused"
    while not paused.exists():
        time.sleep(0.005)
    assert json.loads(paused.read_text()) == {"pid": os.getpid()}
    assert thread.is_alive()
    paused.unlink()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_an_unknown_action_is_refused(folder):
    arm(folder, action="explode")
    with pytest.raises(LookupError, match="explode"):
        failpoint(NAME)
