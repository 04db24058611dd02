"""The commit of a generation, and the file that shows it to DuckDB."""

from __future__ import annotations

from platemill.lake import Generation, Lake
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import same_place, shown_generation, write_warehouse

__all__ = ["finish_publish", "publish"]


def publish(settings: Settings, draft: Draft) -> Generation:
    """Make a draft the current generation. Its tiles must be built, and its checks passed.

    The manifest is the commit. What follows from it, ``warehouse.duckdb`` and the online store,
    is repaired by the next run if this one dies in between.

    Raises:
        GenerationConflict: another run published first.
    """
    lake = Lake(settings.lake)
    generation = lake.commit(draft.generation)
    # A run that planned the same shards at the same time still finds this night's records; those
    # of the night before are no longer planned by anybody.
    older = () if draft.parent is None else draft.parent.shards
    lake.sweep_shards(older, keep=generation.shards)
    lake.storage.sweep_temporary()
    finish_publish(settings)
    return generation


def finish_publish(settings: Settings) -> bool:
    """Let ``warehouse.duckdb`` show the current generation of this home; True if it was written.

    It does not if a run died after its commit, or if the home was moved: the file holds absolute
    paths.
    """
    lake = Lake(settings.lake)
    generation = lake.current()
    number = None if generation is None else generation.number
    if same_place(shown_generation(settings.warehouse_file), lake, number):
        return False
    write_warehouse(lake, generation, settings.warehouse_file)
    return True
