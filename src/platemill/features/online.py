"""The online store of a night: prepared beside the published one, compared, put in its place.

A store is never written while it is read. What is prepared is brought up to the new generation by
the keys that changed, in chunks, compared with the tiles key by key, stamped, and takes the place
of the published store after the generation's commit: a file's (SQLite) or a database's (Redis).
Whatever was interrupted is found by what stands in the store. Nothing is locked: a process that was
stopped half-way keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from platemill.errors import CheckFailed
from platemill.failpoints import failpoint
from platemill.features.catalog import VIEWS
from platemill.features.redis_place import RedisPlace, redis_place
from platemill.features.rows import make_latest
from platemill.features.stamp import Stamp, read_stamp
from platemill.features.store import (
    DEFINITIONS_FILE,
    ONLINE_FILE,
    REGISTRY_FILE,
    registry_defines,
)
from platemill.features.write import OnlineProgress, write_view
from platemill.lake import Generation, Lake, open_lake
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import connect

__all__ = [
    "OnlineProgress",
    "StagedOnline",
    "finish_online",
    "is_behind",
    "published_stamp",
    "stage_online",
    "sweep_staged",
]

_STAGED = "_staged"
_REBUILT = "_rebuilt"
_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class StagedOnline:
    """What staging did.

    Attributes:
        written: rows written, over all views; what an attempt before had written is not counted.
        deleted: keys that have no row any more, over all views.
        compared: rows compared with the tiles, over all views.
        full: whether the store was written from nothing.
    """

    written: int
    deleted: int
    compared: int
    full: bool


def stage_online(
    settings: Settings,
    draft: Draft,
    folder: Path | None = None,
    progress: Callable[[OnlineProgress], object] | None = None,
) -> StagedOnline:
    """Prepare the online store of a draft, compared with the tiles, and publish nothing.

    Only the keys whose tiles changed since the store's generation are written, unless there is no
    such store, the pipeline version or the feature definitions are others, or somebody else wrote
    to it. A draft without a parent is written from nothing. What an attempt at the same work wrote
    before it was killed is kept, in whole chunks.

    Memory is bounded by DuckDB's limit (``duckdb_memory``; more is spilt) and some chunks of 20,000
    rows.

    Args:
        settings: the deployment's settings.
        draft: the generation to prepare it for.
        folder: where to; default: where ``finish_online`` looks for it.
        progress: called after each chunk.

    Raises:
        CheckFailed: the prepared store differs from the tiles.
        ConfigurationError: the server of the online store is not fit for it, or not ours.
        RetryableError: it does not answer, or another run is at it.
    """
    from platemill.features.gate import compare_all
    from platemill.features.staging import prepare

    lake = open_lake(settings)
    folder = folder or _staged_folder(settings, draft.generation)
    prepared = prepare(settings, lake, draft, folder, folder.parent)
    written = deleted = 0
    with contextlib.closing(prepared), _connected(settings, lake) as connection:
        keys = {}
        for table in VIEWS:
            keys[table.name] = make_latest(connection, lake, draft.generation, table)
            counts = write_view(
                connection, lake, prepared, draft.generation, table, keys[table.name], progress
            )
            written, deleted = written + counts[0], deleted + counts[1]
        failpoint("features.rows.after")
        try:
            compared = compare_all(
                connection,
                prepared.target,
                prepared.store,
                keys,
                what=f"the tiles of generation {draft.generation.number}",
                salt=draft.generation.number,
            )
        except CheckFailed:
            prepared.target.spoiled()
            raise
        failpoint("features.stamp.before")
        prepared.target.seal(prepared.stamp)
    failpoint("features.stage.after")
    return StagedOnline(written, deleted, compared, prepared.start.base is None)


def finish_online(settings: Settings, *, rebuild: bool = True) -> bool:
    """Put the current generation's online store in place; True if there was something to do.

    Safe to repeat, and to call while other processes do: each looks again after it has put a
    store in place, so that the last one leaves the newest. If the prepared store was lost, it is
    written again from the tiles.

    Args:
        settings: the deployment's settings.
        rebuild: False leaves it where it would have to be written again; in Redis that is for the
            holder of the publish lease.
    """
    lake = open_lake(settings)
    place = redis_place(settings)
    done = False
    while True:
        generation = lake.current()
        if generation is None or _is_published(settings, place, generation):
            return done
        failpoint("publish.online.before")
        staged = _staged_folder(settings, generation)
        if place is None:
            if _holds(staged / ONLINE_FILE, generation):
                _put_in_place(staged, settings.features)
            else:
                _rebuild(settings, generation)
        elif not _swap_in(settings, place, generation, staged):
            if not rebuild:
                return done
            stage_online(settings, Draft(generation, None))
            _swap_in(settings, place, generation, staged)
        failpoint("publish.online.after")
        sweep_staged(settings, generation.number)
        done = True


def is_behind(settings: Settings) -> bool:
    """Whether the published online store is not of the current generation."""
    generation = open_lake(settings).current()
    return generation is not None and not _is_published(settings, redis_place(settings), generation)


def published_stamp(settings: Settings) -> Stamp | None:
    """Which generation the published online store holds; None if there is none.

    Raises:
        ServerUnavailable: its server does not answer.
    """
    place = redis_place(settings)
    return read_stamp(settings.features / ONLINE_FILE) if place is None else place.stamp()


def sweep_staged(settings: Settings, number: int | None = None) -> int:
    """Remove staged stores of generations up to a number, which are published or were overtaken.

    Args:
        settings: the deployment's settings.
        number: None removes all, rebuilt ones too that were given up a day ago; for the holder of
            the publish lease.

    Returns:
        The bytes that are free now.
    """
    old = _folders(settings.features / _STAGED)
    if number is not None:
        numbered = [(folder.name.split("-", 1)[0], folder) for folder in old]
        old = [folder for said, folder in numbered if said.isdigit() and int(said) <= number]
    else:
        yesterday = time.time() - _DAY_SECONDS
        rebuilt = _folders(settings.features / _REBUILT)
        old += [folder for folder in rebuilt if folder.stat().st_mtime < yesterday]
    freed = 0
    for folder in old:
        freed += sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _connected(
    settings: Settings, lake: Lake
) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
    return connect(lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads)


def _staged_folder(settings: Settings, generation: Generation) -> Path:
    return settings.features / _STAGED / f"{generation.number:08d}-{generation.run_id}"


def _is_published(settings: Settings, place: RedisPlace | None, generation: Generation) -> bool:
    """Whether lookups are answered from a generation, by this home's registry."""
    if place is None:
        return _holds(settings.features / ONLINE_FILE, generation)
    stamp = place.stamp()
    return (
        stamp is not None
        and stamp.lake == open_lake(settings).url
        and stamp.is_of(generation)
        and registry_defines(settings.features, stamp.definitions)
    )


def _holds(target: Path, generation: Generation) -> bool:
    stamp = read_stamp(target)
    return stamp is not None and stamp.is_of(generation)


def _swap_in(settings: Settings, place: RedisPlace, generation: Generation, staged: Path) -> bool:
    """Publish the prepared database of a generation, with its registry; False if there is none."""
    from platemill.features.staging import prepare_registry

    held = [place.state(role).stamp for role in (place.published, place.staging)]
    stamp = next((s for s in held if s is not None and s.is_of(generation)), None)
    if stamp is None:
        return False
    # The registry first: a store without the definitions of its rows could not be read.
    if not registry_defines(settings.features, stamp.definitions):
        if not registry_defines(staged, stamp.definitions):
            prepare_registry(settings, staged)
        _put_in_place(staged, settings.features, (REGISTRY_FILE, DEFINITIONS_FILE))
    failpoint("redis.swap.before")
    swapped = place.swap(generation)
    failpoint("redis.swap.after")
    return swapped


def _rebuild(settings: Settings, generation: Generation) -> None:
    """Write the store of a generation from the tiles, apart from others who do, too."""
    folder = settings.features / _REBUILT / uuid.uuid4().hex
    try:
        stage_online(settings, Draft(generation, None), folder)
        _put_in_place(folder, settings.features)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(
    staged: Path, features: Path, names: tuple[str, ...] = (REGISTRY_FILE, ONLINE_FILE)
) -> None:
    """Let copies of staged files take the place of the published ones, file by file, in order."""
    for name in names:
        copy = features / f".{name}.{uuid.uuid4().hex}"
        try:
            with contextlib.suppress(FileNotFoundError):
                copy.hardlink_to(staged / name)
                failpoint("publish.store.before")
                copy.replace(features / name)
        finally:
            copy.unlink(missing_ok=True)
        failpoint("publish.store.after")


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(parent.iterdir())
    return []
