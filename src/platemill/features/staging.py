"""The beginning of a night's work on its online store: what is there already, and where to write.

Imports Feast, which takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemill.errors import ConfigurationError
from platemill.failpoints import failpoint
from platemill.features.catalog import VIEWS
from platemill.features.definitions import definitions
from platemill.features.online_store import PublishedSqliteOnlineStore
from platemill.features.packed import PACKED_LAYOUT, Packed
from platemill.features.redis_claim import Claim
from platemill.features.redis_place import RedisPlace, redis_place
from platemill.features.redis_store import PublishedRedisOnlineStore
from platemill.features.redis_target import Hashes, RedisTarget
from platemill.features.sqlite_target import SqliteTarget, copy_store, new_store, written_chunks
from platemill.features.stamp import Stamp, read_stamp, was_written_by_hand
from platemill.features.store import (
    DEFINITIONS_FILE,
    ONLINE_FILE,
    REGISTRY_FILE,
    open_store,
    registry_defines,
)
from platemill.features.target import Base, Start, Target, Work
from platemill.lake import Lake
from platemill.settings import Settings
from platemill.warehouse.draft import Draft

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = [
    "Prepared",
    "close_store",
    "definitions_hash",
    "prepare",
    "prepare_registry",
    "published_target",
]


@dataclass(frozen=True)
class Prepared:
    """A store that is ready to be written.

    Attributes:
        target: where to write.
        start: what there is to do.
        stamp: what it is stamped with in the end.
        store: Feast's store over it.
    """

    target: Target
    start: Start
    stamp: Stamp
    store: FeatureStore

    def close(self) -> None:
        """Let go of the files, which are about to be renamed, and of the connections."""
        self.target.close()
        close_store(self.store)


def prepare(settings: Settings, lake: Lake, draft: Draft, folder: Path, old: Path) -> Prepared:
    """Find out what a draft's online store can be made from, and begin.

    A draft without a parent is written from nothing.

    Args:
        settings: the deployment's settings.
        lake: where the draft's files are.
        draft: what the store is to hold.
        folder: where the registry, and a SQLite store, are prepared. What is there is of an
            earlier attempt.
        old: where folders of other attempts may be, which can be gone on with.

    Raises:
        ConfigurationError: the online store's server is not fit for it, or not ours.
        RetryableError: it does not answer, or another run is at it.
    """
    place = redis_place(settings)
    generation = draft.generation
    stamp = Stamp(
        generation.number,
        generation.run_id,
        generation.pipeline_version,
        definitions_hash(),
        generation.created_at,
        lake.url,
    )
    work = Work(stamp, {table.name: dict(generation.partitions(table.name)) for table in VIEWS})
    if place is None:
        return _prepare_sqlite(settings, lake, draft, work, folder, old)
    return _prepare_redis(settings, lake, place, draft, work, folder)


def published_target(settings: Settings, store: FeatureStore) -> Target:
    """The published store as something to compare. Nothing may be written to it."""
    place = redis_place(settings)
    if place is None:
        return SqliteTarget.published(settings.features / ONLINE_FILE, _packed(store))
    return RedisTarget.published(place, _hashes(store))


def definitions_hash() -> str:
    """A hash of what the definitions say, and how they lie; when they were made is left out."""
    from google.protobuf.json_format import MessageToDict

    said = [_timeless(MessageToDict(item.to_proto().spec)) for item in definitions().values()]
    text = json.dumps([PACKED_LAYOUT, said], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def prepare_registry(settings: Settings, folder: Path) -> None:
    """Make a registry of the definitions alone, for an online store in Redis that is complete."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = open_store(settings, folder)
    _register(store)
    close_store(store)
    (folder / DEFINITIONS_FILE).write_text(definitions_hash())


def close_store(store: FeatureStore) -> None:
    """Close Feast's connections to a registry and to a SQLite store."""
    online = store._get_provider().online_store
    connection = getattr(online, "_conn", None)
    if connection is not None:
        connection.close()
        online._conn = None
    client = getattr(online, "_client", None)
    if client is not None:
        client.close()
        online._client = None
    for name in ("read_engine", "write_engine"):
        engine = getattr(store.registry, name, None)
        if engine is not None:
            engine.dispose()


def _prepare_sqlite(
    settings: Settings, lake: Lake, draft: Draft, work: Work, folder: Path, old: Path
) -> Prepared:
    published = settings.features / ONLINE_FILE
    base = _published_base(settings, lake, draft, work.stamp)
    identity = work.identity(base)
    target = folder / ONLINE_FILE
    failpoint("features.stage.before")
    done = _go_on(target, [folder, *_folders(old)], identity)
    if done is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if base is None:
            new_store(target)
        else:
            copy_store(published, target)
    (folder / REGISTRY_FILE).unlink(missing_ok=True)
    _copy(settings.features / REGISTRY_FILE, folder / REGISTRY_FILE)
    store = open_store(settings, folder)
    if base is None:
        _register(store)
    source = None if base is None else published
    writer = SqliteTarget(target, _packed(store), identity, source=source)
    return Prepared(writer, Start(base, done or {}), work.stamp, store)


def _published_base(settings: Settings, lake: Lake, draft: Draft, stamp: Stamp) -> Base | None:
    """What is published, if it can be brought up to the draft by its changed keys alone."""
    published = settings.features / ONLINE_FILE
    said = read_stamp(published)
    if (
        said is None
        or draft.parent is None
        or said.pipeline_version != stamp.pipeline_version
        or said.definitions != stamp.definitions
        or not (settings.features / REGISTRY_FILE).exists()
        or was_written_by_hand(published)
    ):
        return None
    with contextlib.suppress(ConfigurationError):
        generation = lake.generation(said.generation)
        if said.is_of(generation):
            return Base(generation)
    return None


def _go_on(target: Path, folders: Iterable[Path], identity: str) -> dict[str, int] | None:
    """Have what an earlier attempt at the same work wrote; None if there was none."""
    for folder in folders:
        found = folder / ONLINE_FILE
        done = written_chunks(found, identity)
        if done is None:
            continue
        if found != target:
            # Whoever wrote it may be alive after all: it is left alone, and copied between two
            # transactions.
            shutil.rmtree(target.parent, ignore_errors=True)
            target.parent.mkdir(parents=True)
            copy_store(found, target)
            done = written_chunks(target, identity)
        if done is not None:
            return dict(done)
    return None


def _prepare_redis(
    settings: Settings, lake: Lake, place: RedisPlace, draft: Draft, work: Work, folder: Path
) -> Prepared:
    failpoint("features.stage.before")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _copy(settings.features / REGISTRY_FILE, folder / REGISTRY_FILE)
    _copy(settings.features / DEFINITIONS_FILE, folder / DEFINITIONS_FILE)
    claim = Claim(place, lake, work, anew=draft.parent is None)
    failpoint("redis.claim.after")
    store = open_store(settings, folder, place.url_of(place.staging))
    if not registry_defines(folder, work.stamp.definitions):
        _register(store)
        (folder / DEFINITIONS_FILE).write_text(work.stamp.definitions)
    return Prepared(claim.target(_hashes(store)), claim.start, work.stamp, store)


def _register(store: FeatureStore) -> None:
    store.apply(list(definitions().values()))


def _packed(store: FeatureStore) -> dict[str, Packed]:
    views = {table.name: store.get_feature_view(table.name) for table in VIEWS}
    return {n: PublishedSqliteOnlineStore.packed(store.config, v) for n, v in views.items()}


def _hashes(store: FeatureStore) -> dict[str, Hashes]:
    views = {table.name: store.get_feature_view(table.name) for table in VIEWS}
    return {n: PublishedRedisOnlineStore.hashes(store.config, v) for n, v in views.items()}


def _timeless(said: Any) -> Any:
    if isinstance(said, dict):
        return {name: _timeless(value) for name, value in said.items() if name != "meta"}
    if isinstance(said, list):
        return [_timeless(value) for value in said]
    return said


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copyfile(source, target)


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(parent.iterdir())
    return []
