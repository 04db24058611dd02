"""Arrow without pandas: not imported by conversions, there for who asks for it."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
import pyarrow as pa
{first}
batch = pa.RecordBatch.from_pylist([{{"a": 1}}, {{"a": None}}])
print("pandas" in sys.modules, batch.to_pandas()["a"].isna().tolist())
"""


def _run(first: str) -> str:
    command = [sys.executable, "-c", _SCRIPT.format(first=first)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_a_conversion_does_not_import_pandas_and_to_pandas_does() -> None:
    keep = "from platemill.arrow import keep_pandas_out; keep_pandas_out()"
    assert _run(keep) == "False [False, True]"


def test_without_it_a_conversion_imports_pandas() -> None:
    assert _run("") == "True [False, True]"
