"""DuckDB over the lake's files: connections, views over explicit file lists, ``warehouse.duckdb``.

A view names its files one by one. A glob would show files of other generations as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from platemill.errors import ConfigurationError
from platemill.lake import FileEntry, Generation, Lake
from platemill.lake.storage import clear_disk_errors, is_no_room, no_room
from platemill.schema import TABLES, Table
from platemill.warehouse.sql_files import derived_sql

__all__ = [
    "connect",
    "create_view",
    "interrupt_queries",
    "mentioned",
    "rows_of",
    "same_place",
    "show_generation",
    "shown_generation",
    "sql_type",
    "text_literal",
    "write_warehouse",
]

# The open connections of each thread.
_WORKING: dict[int, list[duckdb.DuckDBPyConnection]] = {}

# The oldest DuckDB that opens warehouse.duckdb.
STORAGE_VERSION = "v1.5.0"

_ABANDONED_SECONDS = 3600.0
# Beside warehouse.duckdb: the files that it has shown, each in a folder of its own.
_SHOWN = ".warehouse"

_SCALARS = {
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.string(): "VARCHAR",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


def sql_type(arrow: pa.DataType) -> str:
    """DuckDB's name of an Arrow type of the schema, as ``DESCRIBE`` says it."""
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if pa.types.is_list(arrow):
        return f"{sql_type(arrow.value_type)}[]"
    return _SCALARS[arrow]


def text_literal(text: str) -> str:
    """A text as SQL writes it, for the places where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


@contextlib.contextmanager
def connect(
    lake: Lake, *, memory: str = "1GB", threads: int = 1
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of our own in memory, in UTC; what does not fit is spilt inside the lake.

    Raises:
        ConfigurationError: DuckDB refuses the memory limit or the threads.
        RetryableError: the disk is full.
    """
    # A home that does not exist yet is asked without being made.
    spill = lake.storage.temporary("-spill") if lake.root.is_dir() else None
    try:
        connection = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": str(spill or ""),
                "autoinstall_known_extensions": False,
            }
        )
        # For cursors of it, too.
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        # After two seconds it is drawn on stdout, into whatever is written there.
        connection.execute("SET enable_progress_bar = false")
    except duckdb.Error as error:
        raise ConfigurationError(
            f"DuckDB refuses duckdb_memory={memory!r}, duckdb_threads={threads}: {error}"
        ) from error
    working = _WORKING.setdefault(threading.get_ident(), [])
    working.append(connection)
    try:
        yield connection
    except duckdb.Error as error:
        if is_no_room(str(error)):
            raise no_room(lake.root, str(error)) from error
        raise
    finally:
        working.remove(connection)
        connection.close()
        if spill is not None:
            with contextlib.suppress(OSError):
                spill.rmdir()


def interrupt_queries(thread: int) -> None:
    """End the queries that a thread waits for in connections of ``connect``.

    Args:
        thread: its ``threading.get_ident()``.
    """
    for connection in list(_WORKING.get(thread, ())):
        # It may be closed by now.
        with contextlib.suppress(duckdb.Error):
            connection.interrupt()


def mentioned(sql: str) -> list[Table]:
    """The tables of the schema that an SQL text mentions, in comments too."""
    words = set(re.findall(r"\w+", sql))
    return [table for name, table in TABLES.items() if name in words]


def create_view(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: Table,
    files: Iterable[FileEntry],
    *,
    name: str | None = None,
) -> None:
    """Show files as a table with the schema's columns; no files, an empty table."""
    rows = rows_of(lake, table, files)
    connection.execute(f'CREATE OR REPLACE VIEW "{name or table.name}" AS {rows}')


def rows_of(lake: Lake, table: Table, files: Iterable[FileEntry]) -> str:
    """A SELECT of the rows of some files, in the schema's columns; of none, if there is no file."""
    paths = list(map(str, lake.storage.locate_all([entry.path for entry in files])))
    if paths:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        listed = ", ".join(map(text_literal, paths))
        return f"SELECT {columns} FROM read_parquet([{listed}], hive_partitioning = false)"
    columns = ", ".join(
        f'CAST(NULL AS {sql_type(column.type)}) AS "{column.name}"' for column in table.columns
    )
    return f"SELECT {columns} WHERE false"


def show_generation(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    generation: Generation | None,
    sql: Path,
    *,
    database: str = "memory",
) -> None:
    """Show every table of a generation, the derived ones too, and the table ``generation``.

    Args:
        connection: a database of our own.
        lake: whose files.
        generation: what to show; None shows every table empty.
        sql: the folder of the SQL files.
        database: where to, by its name in the connection.

    Raises:
        ConfigurationError: an SQL file cannot be read.
    """
    for table in TABLES.values():
        name = table.derived_from or table.name
        files = [] if generation is None else generation.partitions(name).values()
        rows = rows_of(lake, TABLES[name], files)
        if table.derived_from is not None:
            rows = derived_sql(sql, table, rows, current=True)
        connection.execute(f'CREATE OR REPLACE VIEW {database}."{table.name}" AS {rows}')
    _describe(connection, lake, generation, database)


def write_warehouse(lake: Lake, generation: Generation | None, path: Path, sql: Path) -> None:
    """Write the file that shows a generation to any DuckDB, and put it in place at once.

    What is put in place is a link. DuckDB opens a file three times before it has read it and
    follows a link once: of a file renamed to ``path`` itself, a reader that comes in between finds
    the head of the old and the body of the new. The file that the link has shown stays for an hour,
    for who has followed the link and not opened it yet.

    Readers that have the old file open keep it. The views hold absolute paths, so that the file
    opens from any working directory; after the home has been moved it has to be written again.

    Args:
        lake: the lake whose files are shown.
        generation: what to show; None shows every table empty.
        path: the link to write, ``warehouse.duckdb``.
        sql: the folder of the SQL files.
    """
    files = path.parent / _SHOWN
    _sweep(path, files)
    # The file's name is the database's name in SQL.
    target = files / uuid.uuid4().hex / path.name
    with clear_disk_errors(path):
        target.parent.mkdir(parents=True)
    link = path.with_name(f".{path.name}.{target.parent.name}")
    try:
        with clear_disk_errors(path), connect(lake) as connection:
            connection.execute(
                f"ATTACH {text_literal(str(target))} AS warehouse "
                f"(STORAGE_VERSION '{STORAGE_VERSION}')"
            )
            connection.execute("BEGIN")
            show_generation(connection, lake, generation, sql, database="warehouse")
            for table in TABLES.values():
                _comment(connection, table)
            connection.execute("COMMIT")
            connection.execute("DETACH warehouse")
        with clear_disk_errors(path):
            with target.open("rb") as file:
                os.fsync(file.fileno())
            link.symlink_to(target.relative_to(path.parent))
    except BaseException:
        link.unlink(missing_ok=True)
        shutil.rmtree(target.parent, ignore_errors=True)
        raise
    # Outside: an interruption right after it must not remove what is shown.
    with clear_disk_errors(path):
        link.replace(path)


def _sweep(path: Path, files: Path) -> None:
    """Remove what nobody can be about to open, and what writers that were killed left."""
    with contextlib.suppress(OSError):
        shown = files / path.readlink().parent.name
        os.utime(shown)  # it is about to be replaced: its hour begins
    for left in [*path.parent.glob(f".{path.name}.*"), *files.glob("*")]:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.lstat().st_mtime > _ABANDONED_SECONDS:
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def shown_generation(path: Path) -> tuple[int | None, str] | None:
    """The generation and the lake that a warehouse file shows; None if it cannot be read."""
    if not path.is_file():
        return None
    try:
        # Attached, not opened: a process may have it open with another configuration.
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {text_literal(str(path))} AS shown (READ_ONLY)")
            asked = "SELECT generation, lake FROM shown.generation"
            row: Any = connection.execute(asked).fetchone()
    except duckdb.Error:
        return None
    return row[0], row[1]


def same_place(shown: tuple[int | None, str] | None, lake: Lake, number: int | None) -> bool:
    """Whether a warehouse file shows that generation of that lake."""
    return shown == (number, str(lake.root))


def _comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    view = f'warehouse."{table.name}"'
    statements = [f"COMMENT ON VIEW {view} IS {text_literal(table.description)}"]
    for column in table.columns:
        text = f"{column.description} [{column.unit}]" if column.unit else column.description
        statements.append(f'COMMENT ON COLUMN {view}."{column.name}" IS {text_literal(text)}')
    connection.execute(";".join(statements))


def _describe(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    generation: Generation | None,
    database: str,
) -> None:
    """Make the table ``generation`` of one row: the night that the other tables show."""
    target = f"{database}.generation"
    connection.execute(
        f"CREATE TABLE {target} (generation BIGINT, parent BIGINT, run_id VARCHAR, "
        "created_at TIMESTAMPTZ, pipeline_version VARCHAR, schema_version VARCHAR, lake VARCHAR)"
    )
    connection.execute(
        f"COMMENT ON TABLE {target} IS 'the published night that the other tables show'"
    )
    row: list[object] = [None] * 6
    if generation is not None:
        row = [
            generation.number,
            generation.parent,
            generation.run_id,
            generation.created_at,
            generation.pipeline_version,
            generation.schema_version,
        ]
    connection.execute(f"INSERT INTO {target} VALUES (?, ?, ?, ?, ?, ?, ?)", [*row, str(lake.root)])
