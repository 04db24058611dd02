"""A recognition job whose flow is dead or stopped ends when another run has its days."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from photo_files import encoded, put
from small_lake import settings_for
from small_nights import Killed, Nights

from platemill.errors import LeaseLost
from platemill.lake import open_lake
from platemill.lake.lease import Holder
from ray_jobs.actors import Outcome, _lease_checker
from ray_jobs.recognize import recognise_plan

DAY = "day=2026-03-01"


def test_a_job_of_a_run_that_lost_its_days_starts_nothing(tmp_path: Path) -> None:
    put(tmp_path / "photos/gate/2026/03/01/070500.jpg", encoded())
    settings = settings_for(tmp_path / "home")
    with pytest.raises(Killed):
        Nights(settings, [tmp_path / "photos"]).run(die_after="plan")
    storage, folder = open_lake(settings).storage, settings.runs / "r1"
    with Holder(storage, "r1") as flow:
        lease = flow.acquire(DAY)
        flow.tokens.save(folder)
        check = _lease_checker(open_lake(settings), folder)
        for day in ("2026-03-01", "2026-03-02"):
            check(day)  # type: ignore[arg-type]
        lease.release()
    with Holder(storage, "next") as after:
        after.acquire(DAY)
        with pytest.raises(LeaseLost, match=r"run r1 held day=2026-03-01 .* run next"):
            recognise_plan(settings, "r1")
        assert not ray.is_initialized()
        # And a worker that was at it records nothing.
        with pytest.raises(LeaseLost) as lost:
            check("2026-03-01")  # type: ignore[arg-type]
    assert Outcome("k", 1.0, lost.value).final
