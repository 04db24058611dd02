"""The runbook has a row for every class of error, with its code, and quotes what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from platemill import errors
from platemill.errors import ImageRejected, InferenceFailed, PlatemillError

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "runbook.md").read_text()
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PlatemillError)
}
# They end no command: each becomes a row.
ROWS = (ImageRejected, InferenceFailed)
GAP = "…"


def rows() -> Iterator[list[str]]:
    """The cells of each row of each table, without the heads."""
    lines = PAGE.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        is_head = line.startswith("| what") or line.startswith("| code")
        if line.startswith("| ") and not is_head and before.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def named() -> Iterator[tuple[str, str]]:
    """Class and code as the second cells say them: ``DiskFull, 4``."""
    for cells in rows():
        if len(cells) == 5:
            yield from re.findall(r"\b([A-Z]\w+), (\d|–)", cells[1])


def quoted() -> list[str]:
    """What stands between backticks in the first cells and is a message."""
    found = [
        text
        for cells in rows()
        if len(cells) > 3
        for text in re.findall(r"`([^`]+)`", cells[0])
        if " " in text
    ]
    others = ("status =", "error:", "platemill status", "nightly NAME")
    return [text for text in found if not text.startswith(others)]


def texts_of(tree: ast.AST) -> Iterator[str]:
    """The strings of a module; what is put into one is a gap."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else GAP for p in node.values]
            yield "".join(map(str, parts))


@pytest.fixture(scope="module")
def said() -> str:
    """All strings of the code, a line each."""
    paths = [p for top in ("src", "flows", "ray_jobs") for p in (PROJECT / top).rglob("*.py")]
    texts = [text for path in paths for text in texts_of(ast.parse(path.read_text()))]
    return "\n".join(" ".join(text.split()) for text in texts)


def test_every_class_has_a_row_with_its_code() -> None:
    seen = dict.fromkeys(named())
    assert {name for name, _ in seen} == set(CLASSES)
    for name, code in seen:
        kind = CLASSES[name]
        assert code == ("–" if kind in ROWS else str(kind.exit_code)), name


def test_every_exit_code_is_explained() -> None:
    explained = {cells[0] for cells in rows() if len(cells) == 3}
    assert {str(kind.exit_code) for kind in CLASSES.values()} | {"0"} <= explained


@pytest.mark.parametrize("message", quoted())
def test_what_is_quoted_is_what_the_code_says(message: str, said: str) -> None:
    # A gap of the page may be several of the code, with words between them.
    parts = [re.escape(part.strip()) for part in message.split(GAP)]
    assert re.search(".*?".join(parts), said), message


def test_there_is_much_to_quote() -> None:
    assert len(quoted()) > 40
