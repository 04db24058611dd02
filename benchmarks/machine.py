"""What a benchmark ran on: processor, cores, memory, load, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_MAIN = ("ray", "pyarrow", "numpy", "opencv-python-headless", "tritonclient", "duckdb")
_TRITON = ("torch", "nvidia-pytriton", "numpy", "opencv-python-headless")
_ASK = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


def machine(triton_python: Path | None = None) -> dict[str, Any]:
    """The record that goes into a run's JSON."""
    names = ["unknown"]
    information = Path("/proc/cpuinfo")
    memory = Path("/proc/meminfo")
    if information.is_file():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        flags = next((line for line in lines if line.startswith("flags")), "").split()
    else:
        flags = []
    record: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": names[0] if names else platform.machine(),
        "bf16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.read_text().split()[1]) / 2**20, 1),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _MAIN},
    }
    if triton_python is not None:
        told = subprocess.run(
            [str(triton_python), "-c", _ASK, *_TRITON], capture_output=True, check=True, text=True
        )
        record["triton_versions"] = json.loads(told.stdout)
    return record


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
