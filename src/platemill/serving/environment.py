"""Triton's environment: a Python of its own with numpy < 2, torch and the server's binary.

Whatever is missing is said before the server is started, with the command that mends it: the
server itself would answer with empty tensors (numpy 2) or an unhealthy stub (no libpython).
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError

__all__ = ["Finding", "TritonEnvironment", "examine", "require"]

SETUP = "build Triton's environment with `make setup`"

_PACKAGES = ("numpy", "nvidia-pytriton", "torch", "opencv-python-headless", "platemill")

_PROBE = """
import ctypes, importlib.metadata, importlib.util, json, pathlib, sys, sysconfig
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        versions[name] = None
spec = importlib.util.find_spec("pytriton")
library = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folder = None
try:
    ctypes.CDLL(library)
    found = True
except OSError:
    beside = pathlib.Path(sysconfig.get_config_var("LIBDIR") or "/nowhere")
    found = (beside / library).is_file()
    folder = str(beside) if found else None
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "package": str(pathlib.Path(spec.origin).parent) if spec and spec.origin else None,
    "versions": versions,
    "library": library,
    "library_found": found,
    "library_folder": folder,
}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is as it must be, what was seen, how to mend it."""

    what: str
    ok: bool
    seen: str
    cure: str = ""


@dataclass(frozen=True)
class TritonEnvironment:
    """Where the parts of the server lie.

    python: the interpreter, as it was named; its links are not followed, for a virtual
    environment's interpreter is one.
    libpython_folder: folder of the shared libpython if the loader does not find it by itself.
    """

    python: Path
    version: str
    package: Path
    libpython_folder: Path | None

    @property
    def server(self) -> Path:
        """The server's binary."""
        return self.package / "tritonserver" / "bin" / "tritonserver"

    @property
    def python_backend(self) -> Path:
        """The folder of the Python backend's library."""
        return self.package / "tritonserver" / "backends" / "python"

    @property
    def stub(self) -> Path:
        """The process that runs a Python model, for this environment's version of Python."""
        stubs = self.package / "tritonserver" / "python_backend_stubs"
        return stubs / self.version / "triton_python_backend_stub"

    @property
    def libraries(self) -> list[Path]:
        """Folders for ``LD_LIBRARY_PATH``."""
        own = [self.package.parent / "nvidia_pytriton.libs"]
        return own + ([self.libpython_folder] if self.libpython_folder else [])


def examine(python: Path) -> tuple[TritonEnvironment | None, list[Finding]]:
    """Look at an environment without starting anything in it.

    Returns:
        The environment, or None if it cannot serve; and every finding, good and bad.
    """
    findings: list[Finding] = []
    what = "Triton's Python"
    if not os.access(python, os.X_OK):
        findings.append(Finding(what, False, f"no interpreter at {python}", SETUP))
        return None, findings
    try:
        seen = _probe(python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        findings.append(Finding(what, False, f"{python} does not run: {error}", SETUP))
        return None, findings
    findings.append(Finding(what, True, f"{seen['version']} at {python}"))
    findings += [_package(name, seen["versions"][name]) for name in _PACKAGES]
    findings.append(_libpython(seen))
    if seen["package"] is None:
        return None, findings
    environment = TritonEnvironment(
        python,
        seen["version"],
        Path(seen["package"]),
        Path(seen["library_folder"]) if seen["library_folder"] else None,
    )
    findings += [
        _file("Triton's server", environment.server, SETUP),
        _file(
            f"Triton's stub for Python {environment.version}",
            environment.stub,
            "build Triton's environment with a Python that has a stub: "
            + ", ".join(sorted(p.name for p in environment.stub.parents[1].glob("3.*"))),
        ),
    ]
    return (environment if all(f.ok for f in findings) else None), findings


def require(python: Path) -> TritonEnvironment:
    """The environment of that interpreter.

    Raises:
        ConfigurationError: something is missing; the text says what, and how to mend each.
    """
    environment, findings = examine(python)
    if environment is None:
        problems = [f"{f.what}: {f.seen}; {f.cure}" for f in findings if not f.ok]
        raise ConfigurationError("Triton cannot be started. " + ". ".join(problems))
    return environment


def _probe(python: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-I", "-c", _PROBE, *_PACKAGES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise ValueError((done.stderr.strip().splitlines() or ["no message"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _package(name: str, version: str | None) -> Finding:
    what = f"{name} in Triton's environment"
    if version is None:
        return Finding(what, False, "not installed", SETUP)
    if name == "numpy" and int(version.split(".")[0]) >= 2:
        cure = "install numpy<2 there: with numpy 2 Triton's stub loses tensors without an error"
        return Finding(what, False, version, cure)
    return Finding(what, True, version)


def _libpython(seen: dict[str, Any]) -> Finding:
    package = f"libpython{seen['version']}"
    what = f"shared {package}"
    if seen["library_found"]:
        return Finding(what, True, seen["library_folder"] or "found by the loader")
    cure = f"install it with `sudo apt-get install -y {package}`"
    return Finding(what, False, f"{seen['library']} is not found", cure)


def _file(what: str, path: Path, cure: str) -> Finding:
    return Finding(what, path.is_file(), str(path) if path.is_file() else f"no {path}", cure)
