"""The pages' folder is there whole or as it was, and nobody's files are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from platemill.catalog import folder as folder_module
from platemill.catalog.folder import MARK, replaced_folder
from platemill.errors import ConfigurationError, RetryableError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(out: Path, text: str) -> None:
    with replaced_folder(out, {"generation": 1}) as fresh:
        (fresh / "index.html").write_text(text)


def test_a_new_an_empty_and_an_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "pages"
    write(out, "one")
    write(out, "two")
    assert (out / "index.html").read_text() == "two"
    said = json.loads((out / MARK).read_text())
    assert said["generation"] == 1
    assert said["files"] == ["index.html", MARK]
    assert names(out.parent) == ["pages"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "x")
    assert (tmp_path / "empty" / "index.html").exists()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").read_text() == "x"


@pytest.mark.parametrize("name", ["holiday.txt", "sub/holiday.txt", MARK])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / "out" / name
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    with pytest.raises(ConfigurationError, match="is not a catalogue"):
        write(tmp_path / "out", "x")
    assert place.read_text() == "{}"
    assert names(tmp_path) == ["out"]


def test_a_strange_file_in_a_catalogue_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    (tmp_path / "out" / "CNAME").write_text("features.example")
    with pytest.raises(ConfigurationError, match="1 files that are not part of it, such as CNAME"):
        write(tmp_path / "out", "two")
    assert (tmp_path / "out" / "index.html").read_text() == "one"


def test_a_folder_that_fills_in_the_meantime_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(ConfigurationError, match="is not a catalogue"),
        replaced_folder(out, {}) as fresh,
    ):
        (fresh / "index.html").write_text("x")
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    assert (out / "thesis.tex").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(ConfigurationError, match="is a file"):
        write(tmp_path / "out", "x")


def test_an_error_leaves_the_old_pages_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    with pytest.raises(RetryableError), replaced_folder(tmp_path / "out", {}):
        raise OSError(28, "No space left on device")
    with pytest.raises(ValueError), replaced_folder(tmp_path / "out", {}):
        raise ValueError
    assert (tmp_path / "out" / "index.html").read_text() == "one"
    assert names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from platemill.catalog import folder
out = Path(sys.argv[1])
put = folder._put_in_place
def die(*_):
    if sys.argv[2] == "after":
        put(*_)
    os.kill(os.getpid(), signal.SIGKILL)
folder._put_in_place = die
with folder.replaced_folder(out, {}) as fresh:
    (fresh / "index.html").write_text("two")
"""


@pytest.mark.parametrize(("when", "left"), [("before", "one"), ("after", "two")])
def test_killed_it_leaves_whole_pages_and_the_next_one_cleans_up(
    tmp_path: Path, when: str, left: str
) -> None:
    out = tmp_path / "out"
    write(out, "one")
    code = [sys.executable, "-c", textwrap.dedent(KILLED), str(out), when]
    assert subprocess.run(code, check=False).returncode == -9
    assert (out / "index.html").read_text() == left
    assert (out / MARK).exists()
    [rubbish] = [path for path in tmp_path.iterdir() if path != out]
    write(out, "three")
    assert rubbish.exists(), "a folder of the last hour may be somebody's who is at work"
    os.utime(rubbish, (0, 0))
    write(out, "four")
    assert names(tmp_path) == ["out"]
    assert (out / "index.html").read_text() == "four"


def test_where_folders_cannot_be_exchanged_they_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "one")
    monkeypatch.setattr(folder_module, "_exchange", lambda one, other: False)
    write(tmp_path / "out", "two")
    assert (tmp_path / "out" / "index.html").read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_the_exchange_is_there_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "one").touch()
    assert folder_module._exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "b") == ["one"]
    with pytest.raises(OSError, match="No such file"):
        folder_module._exchange(tmp_path / "a", tmp_path / "nothing")
