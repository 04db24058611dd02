"""The beginning of work on the Redis database that is prepared: what it holds, and whose it is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from platemill.errors import ConfigurationError
from platemill.features.redis_place import (
    BY_HAND,
    DONE,
    WORK,
    WRITER,
    RedisPlace,
    State,
    connect_redis,
)
from platemill.features.redis_target import Hashes, RedisTarget, new_token
from platemill.features.resp import Wire
from platemill.features.stamp import STAMP_KEY, Stamp
from platemill.features.target import Base, Start, Work
from platemill.lake import FileEntry, Generation, Lake

__all__ = ["Claim"]

# Drafts that were begun and never published, before it is simpler to write all of it.
_MOST_ABANDONED = 5

_Draft = Mapping[str, Mapping[date, FileEntry | None]]


class Claim:
    """A claim on the database that is prepared, and what there is to do in it.

    From here on whoever claimed it before writes nothing more.

    Args:
        place: the server.
        lake: where generations and their files are looked up.
        work: what it is to hold.
        anew: write everything, whatever it holds.

    Raises:
        ConfigurationError: the databases are somebody else's, or the server is not fit for it.
        RetryableError: another run claimed it at the same moment, or the server does not answer.
    """

    def __init__(self, place: RedisPlace, lake: Lake, work: Work, *, anew: bool) -> None:
        self._place = place
        place.check()
        place.refuse_other_lake(lake.url)
        self._token = new_token()
        with place.client(place.staging) as client, client.pipeline() as pipe:
            pipe.watch(STAMP_KEY, WORK, WRITER)
            state = place.state(place.staging)
            self.start = _start(state, lake, work, anew=anew)
            pipe.multi()
            if self.start.base is None and not self.start.done:
                pipe.flushdb(asynchronous=True)
            pipe.delete(STAMP_KEY, BY_HAND, *(() if self.start.done else (DONE,)))
            pipe.set(WRITER, self._token)
            pipe.set(WORK, json.dumps(_said(work, self.start.base, lake.url)))
            pipe.execute()

    def target(self, views: Mapping[str, Hashes]) -> RedisTarget:
        """The database, to be written."""
        with self._place.explained():
            wire = Wire(connect_redis(self._place.url_of(self._place.staging)))
        return RedisTarget(self._place, wire, self._token, views)


def _start(state: State, lake: Lake, work: Work, *, anew: bool) -> Start:
    """What there is to do in a database that holds ``state``."""
    before = state.work if _same_kind(state.work, work.stamp) and not state.by_hand else None
    base: Base | None = None
    stamp = state.stamp
    if not anew and not state.by_hand and stamp and _same_kind(vars(stamp), work.stamp):
        base = _base(lake, stamp.generation, stamp.run_id, ())
        if base is not None:
            return Start(base)
    if before is None:
        return Start(None)
    begun = before["base"]
    drafts = [] if begun is None else [*map(_draft, before["abandoned"]), _draft(before["draft"])]
    if not anew and begun is not None:
        base = _base(lake, begun["generation"], begun["run_id"], drafts[:-1])
    if (begun is None) == (base is None) and before["identity"] == work.identity(base):
        return Start(base, state.done)
    if base is None or len(drafts) > _MOST_ABANDONED:
        return Start(None)
    return Start(_base(lake, begun["generation"], begun["run_id"], drafts))


def _same_kind(said: Mapping[str, Any] | None, stamp: Stamp) -> bool:
    """Whether rows of what was said can stay beside rows of what is wanted."""
    return said is not None and (said["pipeline_version"], said["definitions"]) == (
        stamp.pipeline_version,
        stamp.definitions,
    )


def _base(lake: Lake, number: int, run_id: str, drafts: Any) -> Base | None:
    """A generation that the lake still has, and drafts upon it whose files it still has."""
    with contextlib.suppress(ConfigurationError):
        generation: Generation = lake.generation(number)
        files = [e for d in drafts for days in d.values() for e in days.values() if e is not None]
        if generation.run_id == run_id and all(lake.storage.exists(entry.path) for entry in files):
            return Base(generation, tuple(drafts))
    return None


def _said(work: Work, base: Base | None, lake: str) -> dict[str, Any]:
    """What is begun, as the database holds it."""
    said: dict[str, Any] = {
        "lake": lake,
        "identity": work.identity(base),
        "pipeline_version": work.stamp.pipeline_version,
        "definitions": work.stamp.definitions,
        "base": None,
    }
    if base is None:
        return said
    differing = {
        table: {
            day: days.get(day)
            for day in {*days, *base.generation.partitions(table)}
            if days.get(day) != base.generation.partitions(table).get(day)
        }
        for table, days in work.state.items()
    }
    return {
        **said,
        "base": {"generation": base.generation.number, "run_id": base.generation.run_id},
        "abandoned": [_draft_said(draft) for draft in base.abandoned],
        "draft": _draft_said(differing),
    }


def _draft_said(draft: _Draft) -> dict[str, Any]:
    return {
        table: {
            day.isoformat(): entry and [entry.path, entry.rows, entry.bytes]
            for day, entry in sorted(days.items())
        }
        for table, days in draft.items()
        if days
    }


def _draft(said: Mapping[str, Any]) -> _Draft:
    return {
        table: {
            date.fromisoformat(day): None if entry is None else FileEntry(*entry)
            for day, entry in days.items()
        }
        for table, days in said.items()
    }
