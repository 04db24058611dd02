"""The commit of a generation, and the file that shows it to DuckDB."""

from __future__ import annotations

from collections.abc import Callable

from platemill.failpoints import failpoint
from platemill.lake import Generation, open_lake
from platemill.lake.generation import Kind
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import same_place, shown_generation, write_warehouse

__all__ = ["finish_publish", "publish"]


def publish(
    settings: Settings, draft: Draft, check: Callable[[], object] | None = None
) -> Generation:
    """Make a draft the current generation. Its tiles must be built, and its checks passed.

    The manifest is the commit. What follows from it, ``warehouse.duckdb`` and the online store,
    is repaired by the next run if this one dies in between.

    Args:
        settings: where the lake is.
        draft: what to publish.
        check: called right before the commit; raises ``LeaseLost`` if the run lost a lease.

    Raises:
        GenerationConflict: another run published first.
        LeaseLost: another run took over.
    """
    lake = open_lake(settings)
    if check is not None:
        check()
    failpoint("publish.commit.before")
    generation = lake.commit(draft.generation)
    failpoint("publish.commit.after")
    # A run that planned the same shards at the same time still finds this night's records; those
    # of the night before are no longer planned by anybody. After a rollback they are: the images
    # of the nights that it took back wait again.
    if generation.kind is Kind.NIGHT:
        older = () if draft.parent is None else draft.parent.shards
        lake.sweep_shards(older, keep=generation.shards)
    lake.storage.sweep_temporary()
    failpoint("publish.sweep.after")
    finish_publish(settings)
    return generation


def finish_publish(settings: Settings) -> bool:
    """Let ``warehouse.duckdb`` show the current generation of this home; True if it was written.

    It does not if a run died after its commit, or if the home was moved: the file holds absolute
    paths. Several processes may do it at once: each looks again after it has written, so that the
    last one leaves the newest.
    """
    lake = open_lake(settings)
    written = False
    while True:
        generation = lake.current()
        number = None if generation is None else generation.number
        if same_place(shown_generation(settings.warehouse_file), lake, number):
            return written
        failpoint("publish.warehouse.before")
        write_warehouse(lake, generation, settings.warehouse_file, settings.sql)
        failpoint("publish.warehouse.after")
        written = True
