"""What the commands ``generations``, ``rollback`` and ``vacuum`` do."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from platemill.errors import ConfigurationError
from platemill.failpoints import failpoint
from platemill.features.online import (
    finish_online,
    published_stamp,
    stage_online,
    sweep_staged,
)
from platemill.lake import Generation, Lake, open_lake
from platemill.lake.intents import Aim, declare, intents, withdraw
from platemill.lake.lease import PUBLISH, Holder, Lease, live_runs
from platemill.lake.vacuum import (
    Waste,
    cached_waste,
    doomed_generations,
    find_waste,
    remove_waste,
)
from platemill.launch.night import new_run_id
from platemill.launch.progress import WaitProgress
from platemill.recognize.plan import Plan
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import shown_generation
from platemill.warehouse.publish import finish_publish, publish
from platemill.warehouse.rollback import draft_rollback, holds_the_same

__all__ = ["list_generations", "roll_back", "vacuum"]

_WITHOUT_PLAN = ("rollback-", "vacuum-")

Say = Callable[[str], object]


def list_generations(settings: Settings) -> dict[str, Any]:
    """What generations there are.

    Returns:
        ``home``; ``current``, ``sql`` and ``online``, the numbers of the current generation and of
        those that ``warehouse.duckdb`` and the online store show; ``generations``, newest first:
        ``generation, created_at, run_id, kind, restores, pipeline_version, days, images,
        recognitions, bytes, current, sql, online``.
    """
    lake = open_lake(settings)
    numbers = lake.numbers()
    current = numbers[-1] if numbers else None
    sql, online = _shown(settings)
    rows = []
    for number in reversed(numbers):
        # A vacuum may be at work: what is gone since is left out.
        with contextlib.suppress(ConfigurationError):
            rows.append(_row(lake.generation(number), current, sql, online))
    return {
        "home": str(settings.home),
        "current": current,
        "sql": sql,
        "online": online,
        "generations": rows,
    }


def roll_back(settings: Settings, to: int, *, dry_run: bool, log: Say) -> dict[str, Any]:
    """Bring an older generation back, by publishing a new one with its tables.

    SQL and the online store change together, as in a night. May be killed at any moment and run
    again, and is itself rolled back by the same command.

    Returns:
        ``from`` and ``to``, numbers; ``generation``, the number of the new one, or of the current
        one if it holds the same already; ``changed``, whether there was anything to do; ``days``
        whose facts differ; ``images`` and ``recognitions``, by how many rows there are more or
        fewer now; ``partitions`` by table; ``written``, ``deleted``, ``compared`` rows online.

    Raises:
        ConfigurationError: there is no such generation.
        CheckFailed: the prepared online store differs from the tables; nothing was changed.
        LeaseHeld: a run published for longer than ``lease_wait_seconds``.
        RetryableError: another run published in between.
    """
    lake = open_lake(settings)
    if dry_run:
        current, target = _current(lake), lake.generation(to)
        return _difference(draft_rollback(current, target, run_id="dry-run"), current, to)
    lake.generation(to)
    with _publishing(settings, lake, "rollback", log) as (lease, run_id):
        finish_publish(settings)
        finish_online(settings)
        # Said before the older generation is read: from here on no vacuum removes its files.
        intent = declare(lake.storage, lease, Aim.RESTORE, [to])
        try:
            _refuse_doomed(lake, to)
            current, target = _current(lake), lake.generation(to)
            draft = draft_rollback(current, target, run_id=run_id, fences={PUBLISH: lease.token})
            said = _difference(draft, current, to)
            if not said["changed"]:
                return said
            failpoint("rollback.draft.after")
            staged = stage_online(settings, draft)
            publish(settings, draft, lease.check)
            finish_online(settings)
        finally:
            withdraw(lake.storage, intent)
        return {
            **said,
            "written": staged.written,
            "deleted": staged.deleted,
            "compared": staged.compared,
        }


def vacuum(
    settings: Settings, *, keep: int, staged_days: float, dry_run: bool, log: Say
) -> dict[str, Any]:
    """Remove what the newest generations, live runs and resumable runs do not need.

    May be run beside nights, readers and itself, killed at any moment and run again.

    Args:
        settings: the deployment's settings.
        keep: how many generations stay.
        staged_days: how long shards that were recognised and never published are kept.
        dry_run: only tell.
        log: called with one line when it waits for a run that publishes.

    Returns:
        ``kept`` and ``removed``, numbers of generations; ``files`` and ``bytes`` in all;
        ``kinds``, a row a kind: ``kind, files, bytes``; ``dry_run``.

    Raises:
        LeaseHeld: a run published for longer than ``lease_wait_seconds``.
        LeaseLost: this was silent for too long and a run took over.
    """
    lake = open_lake(settings)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=staged_days)
    if dry_run:
        doomed = doomed_generations(lake, keep, _shown(settings))
        planned = _planned(settings, live_runs(lake.storage))
        found = find_waste(lake, doomed, staged_before=before, planned=planned)
        return _freed(lake, doomed, _kinds(found), dry_run=True)
    with _publishing(settings, lake, "vacuum", log) as (lease, run_id):
        doomed = doomed_generations(lake, keep, _shown(settings))
        intent = declare(lake.storage, lease, Aim.REMOVE, doomed) if doomed else None
        planned = _planned(settings, live_runs(lake.storage) - {run_id})
        found = find_waste(lake, doomed, staged_before=before, planned=planned)
        failpoint("vacuum.find.after")
        remove_waste(lake, found, lease.check)
        kinds = _kinds(found) + _sweep_here(settings, lake)
        if intent is not None:
            withdraw(lake.storage, intent)
        return _freed(lake, doomed, kinds, dry_run=False)


@contextlib.contextmanager
def _publishing(settings: Settings, lake: Lake, what: str, log: Say) -> Iterator[tuple[Lease, str]]:
    """Hold the publish lease; yields it and the name that this goes by, as runs have theirs."""
    run_id = f"{what}-{new_run_id()}"
    with Holder(lake.storage, run_id, settings.lease_seconds) as holder:
        with WaitProgress() as progress:
            wait = settings.lease_wait_seconds
            above = lake.fence(PUBLISH)
            lease = holder.acquire(PUBLISH, wait, log, progress.update, above=above)
        yield lease, run_id


def _current(lake: Lake) -> Generation:
    current = lake.current()
    if current is None:
        raise ConfigurationError(f"there is no generation in {lake.url} yet")
    return current


def _refuse_doomed(lake: Lake, number: int) -> None:
    for intent in intents(lake.storage):
        if intent.aim is Aim.REMOVE and number in intent.generations:
            raise ConfigurationError(
                f"generation {number} of {lake.url} is being removed by a vacuum; `platemill "
                "generations` shows what is left when it has ended"
            )


def _difference(draft: Draft, current: Generation, to: int) -> dict[str, Any]:
    """What a rollback changes, before it does."""
    generation = draft.generation
    changed = not holds_the_same(generation, current)
    rows = {
        table: sum(entry.rows for entry in generation.partitions(table).values())
        - sum(entry.rows for entry in current.partitions(table).values())
        for table in ("images", "recognitions")
    }
    return {
        "from": current.number,
        "to": to,
        "generation": generation.number if changed else current.number,
        "changed": changed,
        "days": [str(day) for day in draft.days],
        **rows,
        "partitions": {table: len(starts) for table, starts in sorted(draft.changed.items())},
    }


def _shown(settings: Settings) -> tuple[int | None, int | None]:
    """The generations that ``warehouse.duckdb`` and the online store show."""
    sql = shown_generation(settings.warehouse_file)
    stamp = published_stamp(settings)
    return (sql[0] if sql else None, stamp.generation if stamp else None)


def _row(
    generation: Generation, current: int | None, sql: int | None, online: int | None
) -> dict[str, Any]:
    return {
        "generation": generation.number,
        "created_at": generation.created_at,
        "run_id": generation.run_id,
        "kind": generation.kind.value,
        "restores": generation.restores,
        "pipeline_version": generation.pipeline_version,
        "days": len(generation.partitions("images")),
        "images": _rows(generation, "images"),
        "recognitions": _rows(generation, "recognitions"),
        "bytes": sum(entry.bytes for entry in generation.files().values()),
        "current": generation.number == current,
        "sql": generation.number == sql,
        "online": generation.number == online,
    }


def _rows(generation: Generation, table: str) -> int:
    return sum(entry.rows for entry in generation.partitions(table).values())


def _planned(settings: Settings, runs: set[str]) -> set[str] | None:
    """Keys of the shards that runs plan; None if one of them cannot be asked."""
    planned: set[str] = set()
    for run_id in runs:
        if run_id.startswith(_WITHOUT_PLAN):
            continue
        try:
            planned |= {shard.key for shard in Plan.load(settings.runs / run_id).shards}
        except (ConfigurationError, OSError):
            # It has not planned yet, or it is a run of another home over the same lake.
            return None
    return planned


def _sweep_here(settings: Settings, lake: Lake) -> list[dict[str, Any]]:
    """Remove what lies in this home only: copies of a bucket's files, what was left half-made."""
    copies = cached_waste(lake)
    for entry in copies:
        lake.storage.forget(entry.name)
    # What a run staged that died after its commit is put in place, not thrown away.
    finish_publish(settings)
    finish_online(settings)
    return [
        _kind("cached copies", len(copies), sum(entry.bytes for entry in copies)),
        _kind("temporary", None, lake.storage.sweep_temporary()),
        _kind("online stores", None, sweep_staged(settings)),
    ]


def _kind(kind: str, files: int | None, size: int) -> dict[str, Any]:
    return {"kind": kind, "files": files, "bytes": size}


def _freed(
    lake: Lake, doomed: list[int], kinds: list[dict[str, Any]], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "kept": [number for number in lake.numbers() if number not in doomed],
        "removed": doomed,
        "files": sum(row["files"] or 0 for row in kinds),
        "bytes": sum(row["bytes"] for row in kinds),
        "kinds": kinds,
        "dry_run": dry_run,
    }


def _kinds(found: list[Waste]) -> list[dict[str, Any]]:
    return [_kind(waste.kind, len(waste.entries), waste.bytes) for waste in found]
