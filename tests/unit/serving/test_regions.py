"""A server's shared memory is told from others' and removed with it, dead or alive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from platemill.serving import regions

TOKEN = "0123456789ab"


def make(folder: Path, token: str = TOKEN) -> Path:
    path = folder / f"{regions.region_prefix(token)}region"
    path.write_bytes(b"x")
    return path


def test_only_the_token_s_regions_are_removed(tmp_path: Path) -> None:
    mine, other = make(tmp_path), make(tmp_path, "other")
    foreign = tmp_path / "psm_of_somebody"
    foreign.touch()
    assert regions.remove(TOKEN, tmp_path) == 1
    assert not mine.exists()
    assert other.exists()
    assert foreign.exists()


def test_a_held_token_is_alive_until_its_lock_is_let_go(tmp_path: Path) -> None:
    assert not regions.is_held(TOKEN, tmp_path)
    lock = regions.hold(TOKEN, tmp_path)
    assert regions.is_held(TOKEN, tmp_path)
    os.close(lock)
    assert not regions.is_held(TOKEN, tmp_path)


def test_a_token_is_held_once(tmp_path: Path) -> None:
    lock = regions.hold(TOKEN, tmp_path)
    with pytest.raises(RuntimeError, match="held by another process"):
        regions.hold(TOKEN, tmp_path)
    os.close(lock)


def test_a_sweep_takes_the_dead_and_leaves_the_living(tmp_path: Path) -> None:
    lock = regions.hold(TOKEN, tmp_path)
    living, dead = make(tmp_path), make(tmp_path, "dead")
    code = (
        "import os, sys, pathlib; from platemill.serving import regions; "
        "regions.hold('dead', pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert regions.sweep(tmp_path) == 1
    assert living.exists()
    assert not dead.exists()
    assert regions.is_held(TOKEN, tmp_path)
    os.close(lock)


def test_a_region_without_a_lock_is_not_judged(tmp_path: Path) -> None:
    unknown = make(tmp_path, "unknown")
    assert regions.sweep(tmp_path) == 0
    assert unknown.exists()


def test_frames_of_a_client_that_was_killed_while_it_registered_them_are_swept(
    tmp_path: Path,
) -> None:
    mine = tmp_path / f"{regions.FRAMES}mine"
    lock = regions.claim(mine)
    dead = tmp_path / f"{regions.FRAMES}dead"
    code = (
        "import os, sys, pathlib; from platemill.serving import regions; "
        "regions.claim(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(dead)], check=False)
    assert dead.exists()
    assert regions.sweep_frames(tmp_path) == 1
    assert mine.exists()
    assert not dead.exists()
    os.close(lock)
