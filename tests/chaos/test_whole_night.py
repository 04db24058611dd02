"""One whole night of those that ``make chaos`` hits: who asked for it is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.whole import WHOLE, WholeNights

pytestmark = [pytest.mark.triton, pytest.mark.ray, pytest.mark.timeout(600)]


def test_nothing_of_a_night_lives_on_when_the_command_is_killed(tmp_path: Path) -> None:
    [cell] = [c for c in WHOLE if (c.point, c.victim) == ("shard.record.before", "command")]
    assert WholeNights(tmp_path / "whole").run(cell) == []
