"""Training sets, correct in time: what was known of each key at the time that a row asks about.

DuckDB finds in all versions of the current generation's rows which of them answers, a view after
the other, by keys and times alone. The features of the rows that answer go to a file once, and from
there beside the rows that they answer. DuckDB's memory limit bounds the first, a batch of rows the
second; what does not fit lies in the lake's folder for temporary files.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from platemill.errors import ConfigurationError, RetryableError
from platemill.features.entity_file import EntityFile, Span, load_asked, open_entities
from platemill.features.point_in_time import Found, hits_sql, picked_sql
from platemill.features.row_file import (
    CHUNK_ROWS,
    RowFile,
    place_array,
    whole_numbers,
    write_row_file,
)
from platemill.features.selection import ChosenView, choose_views, feature_fields
from platemill.features.training_file import BATCH_ROWS, SUFFIXES, beside, write_rows
from platemill.features.versions import identified_rows, version_files, version_rows
from platemill.lake import FileEntry, Generation, Lake, open_lake
from platemill.settings import Settings
from platemill.warehouse.duck import connect

__all__ = ["TrainingRequest", "build_training_set"]

Progress = Callable[[str, int, int], object]
"""Takes what is being done, how far it is, and how far it goes."""

_NO_LIMIT = timedelta(days=365 * 1000)
# For so many rows opening files is most of the work: views are answered beside each other. More
# rows keep the cores busy, and want the memory, one view after the other.
_FEW_ROWS = 250_000


@dataclass(frozen=True)
class TrainingRequest:
    """What a training set is to hold.

    Attributes:
        entities: Parquet or CSV file with keys, ``event_timestamp`` and columns that are passed
            through.
        out: the ``.parquet`` or ``.csv`` file to write.
        services: names of feature services.
        features: single features as ``view:feature``.
        corrected_past: use the newest version of each row, though it may not have been known yet.
        full_names: name columns ``view__feature``, else ``feature``.
    """

    entities: Path
    out: Path
    services: Sequence[str] = ()
    features: Sequence[str] = ()
    corrected_past: bool = False
    full_names: bool = True


@dataclass(frozen=True)
class _Job:
    """A request with all that belongs to it found and checked."""

    request: TrainingRequest
    lake: Lake
    sql: Path
    generation: Generation
    views: list[ChosenView]
    keys: list[str]
    entities: EntityFile
    span: Span
    schema: pa.Schema

    def files(self, view: ChosenView) -> list[FileEntry]:
        if self.span.first is None:
            return []
        return version_files(self.generation, view.table, self.span.first, self.span.last)


def build_training_set(
    settings: Settings,
    request: TrainingRequest,
    *,
    dry_run: bool = False,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Write a training set: every row of the entity file, in its order, with its features.

    A row whose key is null or unknown, or that has no time, gets nulls. The same request to the
    same generation writes the same bytes.

    Args:
        settings: where the home is, DuckDB's memory and threads.
        request: what it is to hold.
        dry_run: check everything and say what would be read; nothing is written.
        progress: told now and then.

    Returns:
        ``out``, ``rows``, ``columns``, ``generation``, ``pipeline_version``, ``past`` (``as_known``
        or ``corrected``), ``first`` and ``last`` (the entity times' span), ``timeless`` rows
        without a time, ``rows_after_generation`` (what is known then is not known yet), ``views``:
        name → ``files, stored_rows, stored_bytes`` and, unless it is a dry run, rows that are
        ``matched, expired, deleted`` and ``nothing``; ``bytes``, ``seconds``, ``memory_limit``.

    Raises:
        ConfigurationError: a file or a column is not what it must be, or there is no such service.
        RetryableError: the disk is full, or a vacuum removed the generation meanwhile.
    """
    start = time.perf_counter()
    views = choose_views(request.services, request.features)
    _check_out(settings, request)
    lake = open_lake(settings)
    generation = lake.current()
    if generation is None:
        raise ConfigurationError(
            f"{settings.home} has no published night yet, so there are no features: "
            "`platemill run` first, or name another --home"
        )
    keys = list(dict.fromkeys(str(view.table.entity) for view in views))
    with (
        _scratch(lake) as scratch,
        _clear_errors(settings, generation),
        connect(lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads) as connection,
    ):
        # A file's foot is read twice.
        connection.execute("SET parquet_metadata_cache = true")
        progress("entities", 0, len(views) + 2)
        typed = request.out.suffix != ".csv"
        entities = open_entities(
            connection, request.entities, keys, scratch / "entities.parquet", typed=typed
        )
        fields = feature_fields(views, entities.schema.names, full_names=request.full_names)
        span = load_asked(connection, entities, keys)
        schema = _schema(request, generation, views, entities, fields)
        job = _Job(request, lake, settings.sql, generation, views, keys, entities, span, schema)
        said = _plan(connection, job)
        if not dry_run:
            paths = [scratch / f"{view.table.name}.arrow" for view in views]
            at_once = settings.duckdb_threads if entities.rows <= _FEW_ROWS else 1
            with contextlib.ExitStack() as cursors, ThreadPoolExecutor(at_once) as pool:
                answers = []
                for number, (view, path) in enumerate(zip(views, paths, strict=True)):
                    own = cursors.enter_context(contextlib.closing(connection.cursor()))
                    answers.append(pool.submit(_answer, own, job, number, view, path))
                for number, (view, answer) in enumerate(zip(views, answers, strict=True)):
                    progress(view.table.name, number + 1, len(views) + 2)
                    said["views"][view.table.name] |= answer.result()
            progress("writing", len(views) + 1, len(views) + 2)
            said["bytes"] = write_rows(request.out, schema, _rows(connection, job, paths))
            progress("done", len(views) + 2, len(views) + 2)
    return {
        **said,
        "dry_run": dry_run,
        "seconds": round(time.perf_counter() - start, 3),
        "memory_limit": settings.duckdb_memory,
    }


def _plan(connection: duckdb.DuckDBPyConnection, job: _Job) -> dict[str, Any]:
    """What is known before anything is joined."""
    late = connection.execute(
        "SELECT count(*) FROM asked WHERE moment > epoch_us($1::TIMESTAMPTZ)",
        [job.generation.created_at],
    ).fetchall()[0][0]
    views = {}
    for view in job.views:
        files = job.files(view)
        views[view.table.name] = {
            "features": len(view.features),
            "files": len(files),
            "stored_rows": sum(entry.rows for entry in files),
            "stored_bytes": sum(entry.bytes for entry in files),
        }
    return {
        "out": str(job.request.out),
        "entities": str(job.request.entities),
        "rows": job.entities.rows,
        "columns": job.schema.names,
        "generation": job.generation.number,
        "pipeline_version": job.generation.pipeline_version,
        "past": _past(job.request),
        "first": job.span.first,
        "last": job.span.last,
        "timeless": job.span.timeless,
        "rows_after_generation": late,
        "views": views,
    }


def _answer(
    connection: duckdb.DuckDBPyConnection,
    job: _Job,
    number: int,
    view: ChosenView,
    path: Path,
) -> dict[str, int]:
    """Find a view's answers, and count them by what was found.

    The features of the rows that answer are written to a file, each row once, and the table
    ``place<number>`` says for every ``n``, in their order, which of them is its answer; -1: none.
    """
    table, files = view.table, job.files(view)
    key = job.keys.index(str(table.entity))
    schema = pa.schema([pa.field(name, table.column(name).type) for name in view.features])
    if not files:
        for _ in write_row_file(path, schema, ()):
            pass
        connection.execute(
            f"CREATE TABLE place{number} AS SELECT n, -1 AS place FROM asked ORDER BY n"
        )
        return {found.name.lower(): 0 for found in Found} | {"nothing": job.entities.rows}
    if table.derived_from is None:
        versions = identified_rows(job.lake, table, files)
    else:
        only = f'"{table.entity}" IN (SELECT key FROM keys{key})'
        rows = version_rows(
            job.lake, table, files, job.sql, job.generation.pipeline_version, only=only
        )
        connection.execute(f"CREATE TABLE derived{number} AS {rows}")
        versions = f"SELECT *, rowid AS id FROM derived{number}"
    ttl = table.ttl or _NO_LIMIT
    bound = {
        "pipeline": job.generation.pipeline_version,
        "ttl": ttl // timedelta(microseconds=1),
        "earliest": _before(job.span.first, ttl),
        "latest": job.span.last,
    }
    corrected = job.request.corrected_past
    hit, picked = f"hit{number}", f"picked{number}"
    connection.execute(hits_sql(table, versions, key, hits=hit, corrected_past=corrected), bound)
    _write_picked(connection, picked_sql(versions, view.features, hit), picked, schema, path)
    connection.execute(
        f"CREATE TABLE place{number} AS SELECT n, coalesce(place, -1) AS place "
        f"FROM {hit} AS hit LEFT JOIN {picked} AS picked "
        "ON picked.id = hit.id AND hit.found = $1 ORDER BY n",
        [int(Found.MATCHED)],
    )
    counted = dict(connection.execute(f"SELECT found, count(*) FROM {hit} GROUP BY 1").fetchall())
    for name in (hit, picked, f"derived{number}"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    return {found.name.lower(): counted.get(found, 0) for found in Found}


def _before(moment: datetime | None, ttl: timedelta) -> datetime | None:
    try:
        return None if moment is None else moment - ttl
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _write_picked(
    connection: duckdb.DuckDBPyConnection, sql: str, picked: str, schema: pa.Schema, path: Path
) -> None:
    """Write the rows that answer, and make the table ``picked`` of their ids and places."""
    connection.execute(f"CREATE TABLE {picked} (id BIGINT, place BIGINT)")
    # The other one has an open result.
    beside = connection.cursor()
    ids: list[pa.Array] = []

    def features() -> Iterator[pa.RecordBatch]:
        for batch in connection.sql(sql).to_arrow_reader(CHUNK_ROWS):
            ids.append(batch.column("id"))
            yield batch.drop_columns("id")

    start = 0
    with contextlib.closing(beside):
        for rows in write_row_file(path, schema, features()):
            places = place_array(np.arange(start, start + rows, dtype=np.int64))
            beside.register("written", pa.table({"id": ids.pop(), "place": places}))
            beside.execute(f"INSERT INTO {picked} FROM written")
            start += rows


def _rows(
    connection: duckdb.DuckDBPyConnection, job: _Job, paths: Sequence[Path]
) -> Iterator[pa.RecordBatch]:
    """The entity file's rows, each beside its answers."""
    names = [f"place{number}" for number in range(len(job.views))]
    columns = ", ".join(f"{name}.n, {name}.place" for name in names)
    found = connection.sql(f"SELECT {columns} FROM {' POSITIONAL JOIN '.join(names)}")
    places = _Slices(found.to_arrow_reader(BATCH_ROWS))
    done = 0
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(contextlib.closing(RowFile(path))) for path in paths]
        for batch in job.entities.batches(BATCH_ROWS):
            answered = places.take(batch.num_rows)
            _check_order(answered.columns[::2], done)
            done += batch.num_rows
            arrays = [
                array
                for file, place in zip(files, answered.columns[1::2], strict=True)
                for array in file.take(whole_numbers(place))
            ]
            yield pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=job.schema)


class _Slices:
    """Rows of a stream, as many at a time as one asks for."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches = batches
        self._held = pa.Table.from_batches([], batches.schema)

    def take(self, rows: int) -> pa.Table:
        while self._held.num_rows < rows:
            more = pa.Table.from_batches([self._batches.read_next_batch()])
            self._held = pa.concat_tables([self._held, more])
        taken, self._held = self._held.slice(0, rows), self._held.slice(rows)
        return taken


def _check_order(numbers: Sequence[pa.ChunkedArray], start: int) -> None:
    """An answer beside another row's key would be the worst of all errors: look at all of them."""
    for column in numbers:
        if not np.array_equal(whole_numbers(column), np.arange(start, start + len(column))):
            raise RuntimeError(f"answers are out of order after row {start:,}: nothing was written")


def _schema(
    request: TrainingRequest,
    generation: Generation,
    views: Sequence[ChosenView],
    entities: EntityFile,
    fields: Sequence[pa.Field],
) -> pa.Schema:
    """The file's columns; its metadata say how it was made, and nothing of when."""
    said = {
        "platemill.generation": str(generation.number),
        "platemill.run_id": generation.run_id,
        "platemill.pipeline_version": generation.pipeline_version,
        "platemill.schema_version": generation.schema_version,
        "platemill.services": ",".join(request.services),
        "platemill.views": ",".join(view.table.name for view in views),
        "platemill.past": _past(request),
    }
    kept: Mapping[bytes, bytes] = entities.schema.metadata or {}
    metadata = {**kept, **{key.encode(): value.encode() for key, value in said.items()}}
    return pa.schema([*entities.schema, *fields], metadata=metadata)


def _past(request: TrainingRequest) -> str:
    return "corrected" if request.corrected_past else "as_known"


def _check_out(settings: Settings, request: TrainingRequest) -> None:
    """Refuse a file that cannot be written, or that would spoil something, before any work."""
    out = request.out
    if out.suffix not in SUFFIXES:
        raise ConfigurationError(
            f"{out} ends in neither of {', '.join(SUFFIXES)}: the ending says what is written"
        )
    place = out.resolve()
    for holy in (settings.lake, settings.lake_cache, settings.features):
        if place.is_relative_to(holy):
            raise ConfigurationError(
                f"{out} lies inside {holy}, which is the deployment's own: name another place"
            )
    if not place.parent.is_dir():
        raise ConfigurationError(f"there is no folder {place.parent}: make it first")
    if place.is_dir():
        raise ConfigurationError(f"{out} is a folder: name a file")
    if place in (request.entities.resolve(), beside(request.entities).resolve()):
        raise ConfigurationError(f"{out} is the entity file itself: name another file")


@contextlib.contextmanager
def _clear_errors(settings: Settings, generation: Generation) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ConfigurationError(
            f"DuckDB's memory limit of {settings.duckdb_memory} is too small for this training "
            "set: give PLATEMILL_DUCKDB_MEMORY more"
        ) from error
    except (duckdb.IOException, FileNotFoundError) as error:
        raise RetryableError(
            f"a file of generation {generation.number} cannot be read, a vacuum may have removed "
            f"the generation meanwhile: run again. ({error})"
        ) from error


@contextlib.contextmanager
def _scratch(lake: Lake) -> Iterator[Path]:
    """A folder for this while, which a vacuum sweeps should this process be killed."""
    folder = lake.storage.temporary("-training")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
