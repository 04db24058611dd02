"""A generation that is being prepared: files that exist already and that no reader sees yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from types import MappingProxyType

from platemill.lake import FileEntry, Generation
from platemill.schema import Period

__all__ = ["NO_FENCES", "Draft", "period_end", "period_start", "time_after"]

NO_FENCES: Mapping[str, int] = MappingProxyType({})
"""What a run without leases holds."""


@dataclass(frozen=True)
class Draft:
    """What the next generation will be.

    Attributes:
        generation: the manifest so far.
        parent: the generation it is built on, None for the first.
        days: days whose facts differ from the parent's, sorted.
        changed: table → first days of the partitions whose file differs from the parent's.
    """

    generation: Generation
    parent: Generation | None
    days: tuple[date, ...] = ()
    changed: Mapping[str, tuple[date, ...]] = field(default_factory=dict)

    @property
    def needs_publishing(self) -> bool:
        """Whether a reader would see a difference."""
        return (
            self.parent is None
            or any(self.changed.values())
            or self.parent.pipeline_version != self.generation.pipeline_version
        )

    def before(self, table: str, partition: date) -> FileEntry | None:
        """The parent's file of a partition, None if it has none."""
        return None if self.parent is None else self.parent.partitions(table).get(partition)

    def with_files(self, table: str, files: Mapping[date, FileEntry | None]) -> Draft:
        """This draft with other files for some partitions of a table; None: it has no row left."""
        partitions = dict(self.generation.partitions(table))
        for partition, entry in files.items():
            if entry is None:
                partitions.pop(partition, None)
            else:
                partitions[partition] = entry
        changed = tuple(
            sorted(day for day, entry in files.items() if entry != self.before(table, day))
        )
        tables = {**self.generation.tables, table: partitions}
        return replace(
            self,
            generation=replace(self.generation, tables=tables),
            changed={**self.changed, table: changed},
        )

    def with_history(self, table: str, files: Mapping[date, FileEntry]) -> Draft:
        """This draft with one more history file for some partitions of a tile table."""
        if not files:
            return self
        days = dict(self.generation.history.get(table, {}))
        for partition, entry in files.items():
            if entry not in days.get(partition, ()):
                days[partition] = (*days.get(partition, ()), entry)
        history = {**self.generation.history, table: days}
        return replace(self, generation=replace(self.generation, history=history))


def time_after(parent: Generation | None, now: datetime) -> datetime:
    """A time for the next generation: now, or just after the parent's if the clock went back."""
    return now if parent is None else max(now, parent.created_at + timedelta(microseconds=1))


def period_start(period: Period, day: date) -> date:
    """The first day of the period that a day lies in; ISO weeks start on Monday."""
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    if period is Period.MONTH:
        return day.replace(day=1)
    return day


def period_end(period: Period, start: date) -> date:
    """The first day after the period that starts on a day."""
    if period is Period.WEEK:
        return start + timedelta(days=7)
    if period is Period.MONTH:
        return (start + timedelta(days=31)).replace(day=1)
    return start + timedelta(days=1)


def periods_of(period: Period, days: Iterable[date]) -> list[date]:
    """The first days of the periods that some days lie in, sorted."""
    return sorted({period_start(period, day) for day in days})
