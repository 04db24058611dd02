"""What a server's log says about a failed start, and what would mend it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["cure_for", "last_lines", "loaded_models", "port_was_taken"]

_LOADED = re.compile(r"successfully loaded '([^']+)'")
_PORT = re.compile(r"Address already in use|already in use|failed to bind", re.IGNORECASE)

# What stands in the log, and the cure. Only causes that trying again will not mend.
_CURES = (
    (
        re.compile(r"(libpython[\d.]+?)\.so[\d.]*: cannot open shared object"),
        "install the shared library with `sudo apt-get install -y {0}`",
    ),
    (
        re.compile(r"No module named '([\w.]+)'"),
        "Triton's environment lacks {0}: build it again with `make setup`",
    ),
    (
        re.compile(r"has no weights at (\S+?):? "),
        "the model repository is not whole: put the weights at {0}",
    ),
    (
        re.compile(r"[Ff]ailed to (?:initialize|increase) the shared memory|--shm-size"),
        "/dev/shm is too small or full: give it 1 GB or more (docker run --shm-size=1g)",
    ),
    (
        re.compile(r"failed to read text proto from (\S+)"),
        "correct the syntax of {0}",
    ),
)
# What every start says: notes and warnings, and that there is no GPU.
_USUAL = re.compile(r"[IW]\d{4} |E\d{4} .*CudaDriverHelper|supervisor: ")
_SHOWN = 12
_TAIL_BYTES = 64_000


def _text(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def last_lines(log: Path) -> list[str]:
    """The log's last lines that say something: the errors if there are any, no drawn tables."""
    lines = [line.rstrip()[:500] for line in _text(log).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("+-", "| "))]
    errors = [line for line in telling if not _USUAL.match(line)]
    return (errors or telling)[-_SHOWN:]


def loaded_models(log: Path) -> set[str]:
    """The models that the server says it has loaded."""
    return set(_LOADED.findall(_text(log)))


def port_was_taken(log: Path) -> bool:
    """Whether the server ended because another process took its port."""
    return _PORT.search(_text(log)) is not None


def cure_for(log: Path) -> str | None:
    """What would mend a failed start, if the log shows a cause that is known."""
    text = _text(log)
    for pattern, cure in _CURES:
        if match := pattern.search(text):
            return cure.format(*match.groups())
    return None
