from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


def test_every_reason_is_documented() -> None:
    raised = {"inference_failed", "poison"}
    for package in ("archive", "recognize"):
        for path in (PROJECT / "src/platemill" / package).glob("*.py"):
            text = path.read_text()
            raised |= set(re.findall(r'ImageRejected\(\s*"(\w+)"', text))
            raised |= set(re.findall(r'modified_at, "(\w+)"', text))
    page = (PROJECT / "docs/archives.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert len(raised) >= 15
    assert raised == documented
