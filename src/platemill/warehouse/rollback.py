"""A generation that brings the tables of an older one back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from platemill.errors import ConfigurationError
from platemill.lake import Generation
from platemill.lake.generation import Kind, Partitions
from platemill.schema import FACTS, LOGS, SCHEMA_VERSION
from platemill.warehouse.draft import NO_FENCES, Draft, time_after

__all__ = ["draft_rollback", "holds_the_same"]


def draft_rollback(
    current: Generation,
    target: Generation,
    *,
    run_id: str,
    fences: Mapping[str, int] = NO_FENCES,
    now: datetime | None = None,
) -> Draft:
    """Begin a generation with the tables, history and pipeline version of an older one.

    Nothing is written: the older one's files are named again. ``check_results`` and ``run_costs``
    stay as they are: what was found out about the nights that are taken back is why they are, and
    they were paid.

    Args:
        current: the current generation.
        target: the one to bring back.
        run_id: who does it.
        fences: the leases that are held, lease → token.
        now: the time of the new generation; default: the clock's, moved on if the clock went back.

    Raises:
        ConfigurationError: the older one was written with another schema.
    """
    if target.schema_version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"generation {target.number} was written with schema {target.schema_version}, this is "
            f"schema {SCHEMA_VERSION}: a release that reads it has to restore it"
        )
    generation = replace(
        target,
        number=current.number + 1,
        parent=current.number,
        run_id=run_id,
        created_at=time_after(current, now or datetime.now(UTC)),
        kind=Kind.ROLLBACK,
        restores=target.number,
        tables={**target.tables, **{log.name: current.partitions(log.name) for log in LOGS}},
        fences={**current.fences, **fences},
    )
    changed = {
        table: tuple(
            sorted(
                day
                for day in {*current.partitions(table), *generation.partitions(table)}
                if current.partitions(table).get(day) != generation.partitions(table).get(day)
            )
        )
        for table in {*current.tables, *generation.tables}
    }
    days = {day for table in FACTS for day in changed.get(table.name, ())}
    return Draft(generation, current, tuple(sorted(days)), changed)


def holds_the_same(one: Generation, other: Generation) -> bool:
    """Whether readers see the same in both, but for what is told of the nights."""
    return (_shown(one), one.history, one.pipeline_version) == (
        _shown(other),
        other.history,
        other.pipeline_version,
    )


def _shown(generation: Generation) -> dict[str, Partitions]:
    logs = {table.name for table in LOGS}
    return {name: files for name, files in generation.tables.items() if name not in logs}
