"""What a machine needs to run platemill, looked at without starting anything."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import socket
import sys
from pathlib import Path

from platemill.errors import ConfigurationError
from platemill.serving.environment import SETUP, Finding, examine
from platemill.serving.regions import SHM
from platemill.serving.repository import repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings

__all__ = ["diagnose"]

_OLDEST_PYTHON = (3, 11)
_SHM_BYTES = 1 << 30

# What the main environment imports by itself; what these need comes with them.
_MAIN_PACKAGES = (
    "duckdb",
    "feast",
    "numpy",
    "opencv-python-headless",
    "prefect",
    "pyarrow",
    "ray",
    "tritonclient",
    "typer",
)


def diagnose(settings: Settings) -> list[Finding]:
    """Look at both environments, the models and the machine.

    Returns:
        A finding for each thing, good and bad, in the order in which they should be mended.
    """
    constraints = settings.project / "infra" / "constraints"
    return [
        _python(),
        *_main_packages(_pins(constraints / "main.txt")),
        *_against(_pins(constraints / "triton.txt"), examine(settings.triton_interpreter)[1]),
        _models(settings),
        _shared_memory(SHM),
        _loopback(),
    ]


def _python() -> Finding:
    seen = f"{sys.version.split()[0]} at {sys.executable}"
    cure = "use Python 3.11 or newer: `make setup PYTHON=python3.11`"
    return Finding("Python", sys.version_info[:2] >= _OLDEST_PYTHON, seen, cure)


def _pins(path: Path) -> dict[str, str]:
    """The versions that a constraints file names; empty if there is no file."""
    if not path.is_file():
        return {}
    pairs = (line.split("==", 1) for line in path.read_text().splitlines() if "==" in line)
    return {_normal(name): version.split(";")[0].strip() for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _main_packages(pins: dict[str, str]) -> list[Finding]:
    findings = []
    for name in _MAIN_PACKAGES:
        what = f"{name} in the main environment"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(what, False, "not installed", "run `make setup`"))
            continue
        findings.append(_pinned(Finding(what, True, version), pins.get(_normal(name))))
    return findings


def _against(pins: dict[str, str], findings: list[Finding]) -> list[Finding]:
    suffix = " in Triton's environment"
    return [
        _pinned(finding, pins.get(_normal(finding.what.removesuffix(suffix))))
        if finding.ok and finding.what.endswith(suffix)
        else finding
        for finding in findings
    ]


def _pinned(finding: Finding, pin: str | None) -> Finding:
    # A build of the same version, 2.13.0+cpu for 2.13.0, is that version.
    if pin is None or finding.seen.split("+")[0] == pin.split("+")[0]:
        return finding
    cure = (
        f"{SETUP}: another version was not tried"
        if "Triton" in finding.what
        else ("run `make setup`: another version was not tried")
    )
    return Finding(finding.what, False, f"{finding.seen}, pinned is {pin}", cure)


def _models(settings: Settings) -> Finding:
    what = "models and weights"
    try:
        models = repository_of(settings)
        version = pipeline_version(models)
    except ConfigurationError as error:
        cure = "check out the repository with its weights, or set PLATEMILL_TRITON_MODELS"
        if settings.profile is not None:
            cure = f"see `platemill profile check {settings.profile}`"
        return Finding(what, False, str(error), cure)
    return Finding(what, True, f"pipeline version {version} in {models}")


def _shared_memory(folder: Path) -> Finding:
    what = f"room in {folder}"
    cure = "give the machine 1 GB or more of it (docker run --shm-size=1g)"
    if not folder.is_dir():
        return Finding(what, False, "no such folder", cure)
    free = shutil.disk_usage(folder).free
    return Finding(what, free >= _SHM_BYTES, f"{free / (1 << 30):.1f} GiB free", cure)


def _loopback() -> Finding:
    what = "ports on loopback"
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            client.settimeout(5)
            client.connect(server.getsockname())
    except OSError as error:
        cure = "let processes listen on 127.0.0.1: Ray, Prefect and Triton do"
        return Finding(what, False, str(error), cure)
    return Finding(what, True, "can be opened and reached")
