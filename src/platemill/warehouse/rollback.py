"""A generation that brings the tables of an older one back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from platemill.errors import ConfigurationError
from platemill.lake import Generation
from platemill.lake.generation import Kind
from platemill.schema import FACTS, SCHEMA_VERSION
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

    Nothing is written: the older one's files are named again.

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
        fences={**current.fences, **fences},
    )
    changed = {
        table: tuple(
            sorted(
                day
                for day in {*current.partitions(table), *target.partitions(table)}
                if current.partitions(table).get(day) != target.partitions(table).get(day)
            )
        )
        for table in {*current.tables, *target.tables}
    }
    days = {day for table in FACTS for day in changed.get(table.name, ())}
    return Draft(generation, current, tuple(sorted(days)), changed)


def holds_the_same(one: Generation, other: Generation) -> bool:
    """Whether readers see the same in both."""
    return (one.tables, one.history, one.pipeline_version) == (
        other.tables,
        other.history,
        other.pipeline_version,
    )
