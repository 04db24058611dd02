"""The online store of a night: staged beside the published one, compared, then put in its place.

A store is never written while it is read. A copy is brought up to the new generation by the keys
that changed, compared with the tiles key by key, and takes the place of the published file after
the generation's commit. Whatever was interrupted is found by the stamp inside the file. Nothing is
locked: a process that was stopped half-way keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from platemill.errors import CheckFailed
from platemill.failpoints import failpoint
from platemill.features.catalog import VIEWS
from platemill.features.rows import changed_keys, gone_keys, latest_rows
from platemill.features.stamp import Stamp, read_stamp, write_stamp
from platemill.features.store import ONLINE_FILE, REGISTRY_FILE, open_store
from platemill.lake import Generation, Lake, open_lake
from platemill.schema import Table
from platemill.settings import Settings
from platemill.warehouse.draft import Draft
from platemill.warehouse.duck import connect

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["StagedOnline", "finish_online", "stage_online", "sweep_staged"]

_STAGED = "_staged"
_REBUILT = "_rebuilt"
_DAY_SECONDS = 86400.0
# Rows that are converted, written or compared at a time.
_CHUNK = 2000


@dataclass(frozen=True)
class StagedOnline:
    """What staging did.

    Attributes:
        written: rows written, over all views.
        deleted: keys that have no row any more, over all views.
        compared: rows compared with the tiles, over all views: all there are.
        full: whether the store was written from nothing.
    """

    written: int
    deleted: int
    compared: int
    full: bool


def stage_online(settings: Settings, draft: Draft, folder: Path | None = None) -> StagedOnline:
    """Prepare the online store of a draft, compared with the tiles, and publish nothing.

    Only the keys whose tiles changed are written, unless there is no published store of the
    parent's generation, or the pipeline version or the feature definitions are others.

    Args:
        settings: the deployment's settings.
        draft: the generation to prepare it for.
        folder: where to; default: where ``finish_online`` looks for it.

    Raises:
        CheckFailed: the staged store differs from the tiles.
    """
    from platemill.features.definitions import definitions

    lake = open_lake(settings)
    objects = definitions()
    fingerprint = _fingerprint(objects.values())
    stamp = Stamp(
        draft.generation.number,
        draft.generation.run_id,
        draft.generation.pipeline_version,
        fingerprint,
    )
    published = read_stamp(settings.features / ONLINE_FILE)
    full = not _continues(published, draft, fingerprint, settings.features)
    folder = folder or _staged_folder(settings, draft.generation)
    failpoint("features.stage.before")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _copy(settings.features / REGISTRY_FILE, folder / REGISTRY_FILE)
    if not full:
        _copy(settings.features / ONLINE_FILE, folder / ONLINE_FILE)
        write_stamp(folder / ONLINE_FILE, None)
    store = open_store(settings, folder)
    if full:
        store.apply(list(objects.values()))
    written = deleted = compared = 0
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        for table in VIEWS:
            counts = _write_view(connection, lake, store, draft, table, full)
            written, deleted = written + counts[0], deleted + counts[1]
        failpoint("features.rows.after")
        for table in VIEWS:
            compared += compare_view(connection, lake, store, draft.generation, table)
    _close(store)
    failpoint("features.stamp.before")
    write_stamp(folder / ONLINE_FILE, stamp)
    failpoint("features.stage.after")
    return StagedOnline(written, deleted, compared, full)


def finish_online(settings: Settings) -> bool:
    """Put the current generation's online store in place; True if there was something to do.

    Safe to repeat, and to call while other processes do: each looks again after it has put a
    store in place, so that the last one leaves the newest. If the staged store was lost, it is
    written again from the tiles.
    """
    lake = open_lake(settings)
    target = settings.features / ONLINE_FILE
    done = False
    while True:
        generation = lake.current()
        if generation is None or _holds(target, generation):
            return done
        failpoint("publish.online.before")
        staged = _staged_folder(settings, generation)
        if _holds(staged / ONLINE_FILE, generation):
            _put_in_place(staged, settings.features)
        else:
            _rebuild(settings, generation)
        failpoint("publish.online.after")
        sweep_staged(settings, generation.number)
        done = True


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


def compare_view(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    store: FeatureStore,
    generation: Generation,
    table: Table,
) -> int:
    """Compare a view's online rows with the tiles, all of them, through Feast's own reader.

    Returns:
        Rows compared.

    Raises:
        CheckFailed: a row differs, is missing, or is there without a tile.
    """
    from platemill.features.convert import entity_keys, expected_values, online_values

    view = store.get_feature_view(table.name)
    provider = store._get_provider()
    rows = mismatching = missing = 0
    example = ""
    for batch in latest_rows(connection, lake, generation, table, only_changed=False, chunk=_CHUNK):
        rows += batch.num_rows
        read = provider.online_read(store.config, view, entity_keys(batch, table))
        keys = batch.column(0).to_pylist()
        for key, wanted, found in zip(keys, expected_values(batch), read, strict=True):
            if found[1] is None:
                missing += 1
                example = example or f"{key}: missing"
            elif (held := online_values(found)) != wanted:
                mismatching += 1
                example = example or f"{key}: tile {wanted}, online {held}"
    extra = _online_store(store).count_keys(store.config, view) - (rows - missing)
    if mismatching or missing or extra:
        raise CheckFailed(
            f"the staged online store differs from {table.name} of generation "
            f"{generation.number}, nothing was published: {mismatching} of {rows} rows mismatch, "
            f"{missing} are missing, {extra} are extra. {example}"
        )
    return rows


def _write_view(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    store: FeatureStore,
    draft: Draft,
    table: Table,
    full: bool,
) -> tuple[int, int]:
    """Write a view's changed keys; returns the rows written and the keys deleted."""
    from platemill.features.convert import entity_keys_of, to_feast_rows

    if not full and not changed_keys(connection, lake, draft, table):
        return 0, 0
    view = store.get_feature_view(table.name)
    provider = store._get_provider()
    written = 0
    for batch in latest_rows(
        connection, lake, draft.generation, table, only_changed=not full, chunk=_CHUNK
    ):
        provider.online_write_batch(store.config, view, to_feast_rows(batch, view, table), None)
        written += batch.num_rows
    if full:
        return written, 0
    gone = gone_keys(connection, draft.generation, table)
    if gone:
        _online_store(store).delete_keys(store.config, view, entity_keys_of(gone, table))
    return written, len(gone)


def _continues(published: Stamp | None, draft: Draft, fingerprint: str, folder: Path) -> bool:
    """Whether the published store can be brought up to the draft by its changed keys alone."""
    return (
        published is not None
        and published.is_of(draft.parent)
        and published.pipeline_version == draft.generation.pipeline_version
        and published.definitions == fingerprint
        and (folder / REGISTRY_FILE).exists()
    )


def _fingerprint(objects: Iterable[Any]) -> str:
    """A hash of what the definitions say; when they were made is left out."""
    from google.protobuf.json_format import MessageToDict

    said = [_timeless(MessageToDict(item.to_proto().spec)) for item in objects]
    return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()


def _timeless(said: Any) -> Any:
    if isinstance(said, dict):
        return {name: _timeless(value) for name, value in said.items() if name != "meta"}
    if isinstance(said, list):
        return [_timeless(value) for value in said]
    return said


def _online_store(store: FeatureStore) -> Any:
    return store._get_provider().online_store


def _close(store: FeatureStore) -> None:
    """Let go of the staged files, which are about to be renamed."""
    online = _online_store(store)
    if online._conn is not None:
        online._conn.close()
        online._conn = None
    for name in ("read_engine", "write_engine"):
        engine = getattr(store.registry, name, None)
        if engine is not None:
            engine.dispose()


def _staged_folder(settings: Settings, generation: Generation) -> Path:
    return settings.features / _STAGED / f"{generation.number:08d}-{generation.run_id}"


def _holds(target: Path, generation: Generation) -> bool:
    stamp = read_stamp(target)
    return stamp is not None and stamp.is_of(generation)


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copyfile(source, target)


def _rebuild(settings: Settings, generation: Generation) -> None:
    """Write the store of a generation from the tiles, apart from others who do, too."""
    folder = settings.features / _REBUILT / uuid.uuid4().hex
    try:
        stage_online(settings, Draft(generation, None), folder)
        _put_in_place(folder, settings.features)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(staged: Path, features: Path) -> None:
    """Let copies of a staged store take the place of the published one, file by file."""
    # The registry first: a store without the definitions of its rows could not be read.
    for name in (REGISTRY_FILE, ONLINE_FILE):
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
