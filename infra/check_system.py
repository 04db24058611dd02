"""Check what the operating system must have before the environments are built.

Needs nothing but the standard library. Prints every problem with the one command that mends it
and ends with 2 if there is any. The tests need more than the mill does: ``--for tests``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys

MAIN_OLDEST = (3, 11)
# numpy older than 2, which Triton's Python backend needs, has no wheel for newer Pythons.
TRITON_OLDEST, TRITON_NEWEST = (3, 11), (3, 12)

# Programs that only tests start → the package of each.
TEST_PROGRAMS = {
    "redis-server": "redis-server",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}

PROBE = """
import ctypes, importlib.util, json, os, sys, sysconfig
version = sys.version_info[:2]
name = "libpython%d.%d.so.1.0" % version
found = False
for place in (name, os.path.join(sysconfig.get_config_var("LIBDIR") or "", name)):
    try:
        ctypes.CDLL(place)
        found = True
    except OSError:
        pass
venv = all(importlib.util.find_spec(m) for m in ("venv", "ensurepip"))
print(json.dumps({"version": version, "libpython": found, "venv": venv}))
"""


def probe(python: str) -> dict[str, object] | None:
    """Version, venv and shared library of an interpreter; None if it cannot be run."""
    if shutil.which(python) is None:
        return None
    done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def main() -> int:
    """Print the problems, or the packages that mend them; 0 if there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="python3", help="the main environment's Python")
    parser.add_argument("--triton-python", default="python3", help="Triton's environment's Python")
    parser.add_argument("--for", dest="purpose", choices=("running", "tests"), default="running")
    parser.add_argument(
        "--packages", action="store_true", help="print the missing packages' names, nothing else"
    )
    arguments = parser.parse_args()
    problems: list[str] = []
    packages: set[str] = set()

    found = {name: probe(name) for name in {arguments.python, arguments.triton_python}}
    for name, what in found.items():
        if what is None:
            problems.append(f"{name} cannot be run")
            packages.add("python3")
        elif not what["venv"]:
            problems.append(f"{name} has no venv module")
            packages.add("python{}.{}-venv".format(*what["version"]))

    if (what := found[arguments.python]) and tuple(what["version"]) < MAIN_OLDEST:
        problems.append(
            "{} is Python {}.{}, but 3.11 or newer is needed: make PYTHON=python3.12 …".format(
                arguments.python, *what["version"]
            )
        )
    if what := found[arguments.triton_python]:
        version = tuple(what["version"])
        if not TRITON_OLDEST <= version <= TRITON_NEWEST:
            problems.append(
                "{} is Python {}.{}, but Triton's environment needs 3.11 or 3.12 (numpy older than "
                "2 has no wheel for others): make TRITON_PYTHON=python3.12 …".format(
                    arguments.triton_python, *version
                )
            )
        elif not what["libpython"]:
            problems.append(
                "the shared libpython{}.{}.so.1.0, which Triton's Python backend loads, is "
                "missing".format(*version)
            )
            packages.add("libpython{}.{}".format(*version))

    if arguments.purpose == "tests":
        for program, package in TEST_PROGRAMS.items():
            if shutil.which(program) is None:
                problems.append(f"the tests start {program}, which is missing")
                packages.add(package)

    if arguments.packages:
        print(*sorted(packages))
        return 0
    for problem in problems:
        print(f"missing: {problem}", file=sys.stderr)
    if packages:
        names = " ".join(sorted(packages))
        print(f"mend it with: sudo apt-get install -y {names}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
