"""The rows that a night's page asks for: its plan, what came of it, and what was there before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import duckdb

from platemill.errors import ConfigurationError
from platemill.lake import FileEntry, Generation, Lake, ShardRecord
from platemill.recognize.plan import PLAN_FILES, PLAN_SCHEMA, Plan
from platemill.schema import IMAGES, RECOGNITIONS
from platemill.settings import Settings
from platemill.warehouse.duck import connect, create_view, sql_type, text_literal

__all__ = ["NightRows", "base_of", "night_rows", "published_by"]

_LOOKED_BACK: Final = 50
# Shards of a night that published nothing have a file each.
_MOST_FILES: Final = 400


@dataclass(frozen=True)
class NightRows:
    """A night's rows, shown to a connection.

    Attributes:
        connection: has ``planned``, ``images``, ``recognitions`` and ``before``.
        pipeline_version: of the night's rows.
        knows_before: whether ``before`` is what the plan was made against.
        records: of a night that published nothing, its recorded shards.
        shown: how many of them are shown.
    """

    connection: duckdb.DuckDBPyConnection
    pipeline_version: str
    knows_before: bool
    records: Sequence[ShardRecord] | None = None
    shown: int = 0

    def ask(self, name: str, **given: object) -> list[dict[str, Any]]:
        """Answer ``sql/NAME.sql``.

        Args:
            name: the file's, without its end.
            given: its parameters; ``pipeline_version`` is filled in.
        """
        sql = (resources.files("platemill.report") / "sql" / f"{name}.sql").read_text("utf-8")
        if "$pipeline_version" in sql:
            given["pipeline_version"] = self.pipeline_version
        cursor = self.connection.execute(sql, given)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextlib.contextmanager
def night_rows(
    settings: Settings,
    lake: Lake,
    folder: Path,
    plan: Plan,
    generation: Generation | None,
    base: Generation | None,
) -> Iterator[NightRows]:
    """Show a night's rows to a connection.

    Of a night that published they are the generation's; of another one those that its shards have
    staged, of the last recorded ones if they are very many.

    Args:
        settings: DuckDB's limits.
        lake: where the files are.
        folder: the run's.
        plan: the run's.
        generation: what it published; None: nothing.
        base: what the plan was made against; None: nothing, or it is gone.
    """
    records, shown = None, []
    if generation is not None:
        days = set(plan.days)
        files = {
            table.name: [
                entry for day, entry in generation.partitions(table.name).items() if day in days
            ]
            for table in (IMAGES, RECOGNITIONS)
        }
    else:
        records = [r for r in lake.shards(s.key for s in plan.shards).values() if r is not None]
        shown = records[-_MOST_FILES:]
        files = {
            IMAGES.name: _staged(lake, [record.images_path for record in shown]),
            RECOGNITIONS.name: _staged(lake, [record.recognitions_path for record in shown]),
        }
    places = {*plan.days, *plan.changes.left}
    before = () if base is None else (base.partitions(IMAGES.name).get(day) for day in places)
    with connect(
        lake, memory=settings.duckdb_memory, threads=settings.duckdb_threads
    ) as connection:
        for table in (IMAGES, RECOGNITIONS):
            create_view(connection, lake, table, files[table.name])
        known = [entry for entry in before if entry is not None]
        create_view(connection, lake, IMAGES, known, name="before")
        connection.execute(f"CREATE VIEW planned AS {_planned(folder, plan)}")
        knows_before = base is not None or plan.changes.base is None
        yield NightRows(connection, plan.pipeline_version, knows_before, records, len(shown))


def published_by(lake: Lake, run_id: str, told: int | None) -> Generation | None:
    """The generation that a run published, if it did and if it is still there.

    Args:
        lake: where the manifests are.
        run_id: the run.
        told: the generation that was the newest when it ended; None if it said nothing.
    """
    numbers = lake.numbers()
    likely = [number for number in numbers if told is None or number <= told]
    for number in reversed(likely[-_LOOKED_BACK:]):
        with contextlib.suppress(ConfigurationError):
            generation = lake.generation(number)
            if generation.run_id == run_id:
                return generation
    return None


def base_of(lake: Lake, number: int | None) -> Generation | None:
    """The generation that a plan was made against; None if there was none, or it is gone."""
    if number is None:
        return None
    try:
        return lake.generation(number)
    except ConfigurationError:
        return None


def _staged(lake: Lake, paths: Iterable[str]) -> list[FileEntry]:
    """Staged files; an attempt without rows may have written none."""
    entries = [FileEntry(path, 0, 0) for path in paths if path]
    return [entry for entry in entries if lake.storage.exists(entry.path)]


def _planned(folder: Path, plan: Plan) -> str:
    path = folder / PLAN_FILES[0]
    columns = ", ".join(f'"{name}"' for name in PLAN_SCHEMA.names)
    if path.exists() and plan.shards:
        days = ", ".join(f"DATE '{day}'" for day in plan.days)
        # Days that the budget left are still in the file.
        return (
            f"SELECT {columns} FROM read_parquet({text_literal(str(path))}) WHERE day IN ({days})"
        )
    columns = ", ".join(
        f'CAST(NULL AS {sql_type(PLAN_SCHEMA.field(name).type)}) AS "{name}"'
        for name in PLAN_SCHEMA.names
    )
    return f"SELECT {columns} WHERE false"
