"""Whatever an archive went through, and wherever nights were killed, the facts are as of one night.

Photos come late, change, move to another day, are deleted and come back; nights look at some days
only, or die. After one whole night the facts are those of a single night over what is there now,
and what is not there any more is marked.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lake import settings_for
from small_nights import STAGES, Killed, Nights

from platemill.warehouse.query import run_sql

FIRST = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
FACTS = """
SELECT i.uri, i.image_id, i.captured_at, i.day, i.status, i.reason, i.plates,
    list(r.raw_text ORDER BY r.plate_index) AS texts, list(DISTINCT r.day) AS days
FROM images i LEFT JOIN recognitions r USING (uri, image_id, pipeline_version)
WHERE i.deleted_at IS NULL GROUP BY ALL ORDER BY i.uri
"""


@dataclass
class Archive:
    """Photos whose days are those of their files; a content is never used twice."""

    root: Path
    made: int = 0
    away: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def write(self, name: str, day: int) -> None:
        self.made += 1
        # Another content of the same size and time is what cannot be seen.
        time = FIRST + timedelta(days=day, seconds=self.made)
        self._put(name, b"photo %d" % self.made, time.timestamp())

    def delete(self, name: str) -> None:
        path = self.root / "gate" / name
        if path.exists():
            self.away[name] = path.read_bytes(), path.stat().st_mtime
            path.unlink()

    def restore(self, name: str) -> None:
        if name in self.away and not (self.root / "gate" / name).exists():
            self._put(name, *self.away[name])

    def _put(self, name: str, data: bytes, time: float) -> None:
        path = self.root / "gate" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time, time))


def decode(data: bytes) -> np.ndarray:
    return np.full((2, 2, 3), sum(data) % 3, np.uint8)


CHANGE = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("restore"), st.sampled_from(NAMES)),
)
NIGHT = st.tuples(
    st.lists(CHANGE, max_size=4),
    st.none() | st.sampled_from(STAGES[:4]),
    st.none() | st.sets(st.integers(0, 2), min_size=1, max_size=2),
)


# A busy machine is slow to make examples; that says nothing about the code.
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(NIGHT, min_size=1, max_size=4))
def test_facts_are_those_of_one_clean_night(
    steps: list[tuple[list[tuple[str, ...]], str | None, set[int] | None]],
) -> None:
    compare(steps)


def compare(steps: list[tuple[list[tuple[str, ...]], str | None, set[int] | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder) / "photos")
        archive.root.mkdir()
        # Always there, so that the archive is never empty all of a sudden.
        archive.write("stays.jpg", 0)
        options = {"archives": [archive.root], "decode": decode, "facts_only": True}
        nights = Nights(settings_for(Path(folder) / "home"), **options)
        for changes, kill, days in steps:
            for what, *rest in changes:
                getattr(archive, what)(*rest)
            wanted = days and frozenset((FIRST + timedelta(days=day)).date() for day in days)
            with contextlib.suppress(Killed):
                nights.run(die_after=kill, days=wanted or None)
        nights.run()
        clean = Nights(settings_for(Path(folder) / "clean"), **options)
        clean.run()
        assert facts(nights) == facts(clean)
        marked = run_sql(
            nights.settings, "SELECT uri FROM images WHERE deleted_at IS NOT NULL"
        ).to_pylist()
        there = {path.as_uri() for path in archive.root.rglob("*.jpg")}
        assert not there & {row["uri"] for row in marked}
        # Nothing is left to do.
        _, plan = nights.run()
        assert (plan.total, plan.touched_days) == (0, ())


def facts(nights: Nights) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = run_sql(nights.settings, FACTS).to_pylist()
    assert all(isinstance(row["day"], date) for row in rows)
    return rows
