"""What the command says of a flow that ended without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from platemill.errors import RetryableError
from platemill.launch.night import flow_failure


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (-9, "by SIGKILL"),
        (128 + 15, "by SIGTERM"),
        (1, "with exit code 1"),
        (255, "with exit code 255"),
    ],
)
def test_it_says_how_the_night_was_ended(tmp_path: Path, code: int, how: str) -> None:
    error = flow_failure(tmp_path, code)
    assert isinstance(error, RetryableError)
    assert f"was ended {how};" in str(error)
