"""``generations``, ``rollback`` and ``vacuum`` before the first night, and what their help says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platemill.cli import app

run = CliRunner().invoke


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("generations", ["newest first", "platemill rollback", "platemill vacuum"]),
        ("rollback", ["--to", "--dry-run", "--wait", "waiting again", "undoes it"]),
        ("vacuum", ["--keep", "--staged-days", "--dry-run", "Safe beside nights", "cannot be"]),
    ],
)
def test_the_help_says_what_happens(command: str, words: list[str]) -> None:
    done = run(app, [command, "--help"], env={"TERM": "dumb", "COLUMNS": "120"})
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert [word for word in words if word not in text] == []


def test_before_the_first_night_there_is_nothing(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "home")]
    listed = json.loads(run(app, ["generations", *home, "--json"]).stdout)
    assert (listed["current"], listed["generations"]) == (None, [])
    assert "none yet" in run(app, ["generations", *home]).stdout
    done = run(app, ["vacuum", *home, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["removed"], said["kept"], said["dry_run"]) == ([], [], False)
    assert "there is no generation 3" in str(run(app, ["rollback", *home, "--to", "3"]).exception)
