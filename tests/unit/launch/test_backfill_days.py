"""Which days a backfill is over, and which pipeline it accepts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from small_lake import settings_for

from platemill.errors import ConfigurationError
from platemill.launch.backfill import days_between, require_version

TODAY = dt.date(2026, 5, 10)


def test_both_ends_are_included() -> None:
    days = days_between("2026-02-27", "2026-03-01", TODAY)
    assert list(map(str, days)) == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert days_between("2026-05-10", "2026-05-10", TODAY) == (TODAY,)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-05-04", "2026-05-03", "2026-05-04 comes after --to 2026-05-03"),
        ("2026-05-04", "2026-05-11", "2026-05-11 has not come yet: it is 2026-05-10 in UTC"),
        (None, "2026-05-03", "--from is missing"),
        ("2026-05-03", "", "--to is missing"),
        ("yesterday", "2026-05-03", "--from takes a UTC day like 2026-05-04, not 'yesterday'"),
        ("2026-02-30", "2026-05-03", "not '2026-02-30'"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(
    start: str | None, end: str | None, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        days_between(start, end, TODAY)


def test_another_pipeline_than_asked_for_is_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    version = require_version(settings, None)
    assert require_version(settings, version) == version
    with pytest.raises(ConfigurationError, match=f"are version {version}.*--profile"):
        require_version(settings, "0123456789ab")
