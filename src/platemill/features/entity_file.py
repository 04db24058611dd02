"""The file that says about what and for when a training set is made: keys, times, labels.

Parquet or CSV. Whatever columns it has besides keys and ``event_timestamp`` are passed through.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from platemill.errors import ConfigurationError
from platemill.warehouse.duck import text_literal

__all__ = ["TIME", "EntityFile", "Span", "load_asked", "open_entities"]

TIME = "event_timestamp"

_MAGIC = b"PAR1"
_NUMBERED = "file_row_number"
# A text that is written as a whole number, or another number of at most 15 digits, is written so
# again: reading it as a number loses nothing.
_WHOLE = "0|-?[1-9][0-9]{0,17}"
_NUMBER = "-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]{1,2})?"
_NUMBER_LENGTH = 16


@dataclass(frozen=True)
class EntityFile:
    """An entity file that can be read.

    Attributes:
        given: the file that was named.
        path: the Parquet file with its rows: itself, or what a CSV was turned into.
        schema: its columns.
        rows: how many.
    """

    given: Path
    path: Path
    schema: pa.Schema
    rows: int

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Its rows in their order, as they are."""
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(size, use_threads=False)


@dataclass(frozen=True)
class Span:
    """From when to when an entity file asks; None if no row has a time. ``timeless`` have none."""

    first: datetime | None
    last: datetime | None
    timeless: int


def open_entities(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    keys: Sequence[str],
    scratch: Path,
    *,
    typed: bool,
) -> EntityFile:
    """Look at an entity file, and turn a CSV into Parquet.

    Args:
        connection: for reading a CSV.
        path: the file.
        keys: the columns that hold keys.
        scratch: where a CSV's rows may be written as Parquet.
        typed: whether a CSV's texts that all look like numbers become numbers.

    Raises:
        ConfigurationError: it cannot be read, or a column is missing or of a wrong type.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigurationError(
            f"the entity file {path} cannot be read: {error.strerror}"
        ) from error
    if head == _MAGIC:
        source = path
    elif path.suffix.lower() == ".csv":
        _read_csv(connection, path, [*keys, TIME], scratch, typed)
        source = scratch
    else:
        raise ConfigurationError(
            f"the entity file {path} is neither Parquet nor named .csv: write it with "
            "`frame.to_parquet(path)`, or as CSV with a header and commas"
        )
    try:
        with pq.ParquetFile(source) as parquet:
            found = EntityFile(path, source, parquet.schema_arrow, parquet.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(
            f"the entity file {path} is no whole Parquet file ({error}): write it again"
        ) from error
    _check_columns(path, found.schema.names, [*keys, TIME])
    for key in keys:
        _check_key(found, key)
    _check_time(found)
    return found


def load_asked(
    connection: duckdb.DuckDBPyConnection, entities: EntityFile, keys: Sequence[str]
) -> Span:
    """Make the tables of what is asked about: ``keys0`` … and ``asked``.

    ``keys0`` has the different keys of the first of ``keys``, ``key`` and ``code``, a number from
    1: numbers are compared faster than texts. ``asked`` has a row for each of the file: ``n`` from
    0, ``k0`` … the keys' codes, null for none, and ``moment``, in microseconds since 1970. A time
    without a zone is UTC.

    Raises:
        ConfigurationError: a time is a text that is no time.
    """
    source = f"read_parquet({text_literal(str(entities.path))}, file_row_number = true)"
    text = pa.types.is_string(_plain(entities.schema.field(TIME).type))
    cast = "TRY_CAST" if text else "CAST"
    codes, joins = "", ""
    try:
        for number, key in enumerate(keys):
            connection.execute(
                f"CREATE TABLE keys{number} AS SELECT key, row_number() OVER () AS code FROM "
                f'(SELECT DISTINCT "{key}"::VARCHAR AS key FROM {source} WHERE key IS NOT NULL)'
            )
            codes += f"keys{number}.code AS k{number}, "
            joins += f' LEFT JOIN keys{number} ON keys{number}.key = file."{key}"::VARCHAR'
        connection.execute(
            f"CREATE TABLE asked AS SELECT file.{_NUMBERED} AS n, {codes}"
            f'epoch_us({cast}(file."{TIME}" AS TIMESTAMPTZ)) AS moment FROM {source} AS file{joins}'
        )
        if text:
            _refuse_bad_times(connection, entities, source)
    except duckdb.IOException as error:
        raise ConfigurationError(
            f"the entity file {entities.given} cannot be read: {error}"
        ) from error
    first, last, rows, timed = connection.execute(
        "SELECT make_timestamptz(min(moment)), make_timestamptz(max(moment)), count(*), "
        "count(moment) FROM asked"
    ).fetchall()[0]
    return Span(first, last, rows - timed)


def _refuse_bad_times(
    connection: duckdb.DuckDBPyConnection, entities: EntityFile, source: str
) -> None:
    bad = connection.execute(
        f'SELECT {_NUMBERED} + 1, "{TIME}" FROM {source} '
        f'WHERE "{TIME}" IS NOT NULL AND TRY_CAST("{TIME}" AS TIMESTAMPTZ) IS NULL LIMIT 1'
    ).fetchall()
    for row, text in bad:
        raise ConfigurationError(
            f"{entities.given}: {TIME} of row {row:,} is {text!r}, which is no time. Write times "
            "as 2026-05-01 10:00:00 (UTC) or 2026-05-01T10:00:00+03:00"
        )


def _read_csv(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    needed: Sequence[str],
    scratch: Path,
    typed: bool,
) -> None:
    """Write a CSV's rows as Parquet; ``typed`` turns what is written as numbers into numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = next(csv.reader(file), [])
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigurationError(
            f"the entity file {path} is no CSV in UTF-8 ({error}): write it again"
        ) from error
    _check_columns(path, names, needed)
    if len(set(map(str.casefold, names))) < len(names) or not all(names):
        raise ConfigurationError(
            f"{path}: every column needs a name of its own, whatever its case; there are: "
            f"{', '.join(names)}"
        )
    columns = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in names)
    source = (
        f"read_csv({text_literal(str(path))}, auto_detect = false, header = true, delim = ',', "
        f"quote = '\"', escape = '\"', columns = {{{columns}}})"
    )
    try:
        free = [name for name in names if name not in needed] if typed else []
        kinds = _kinds(connection, source, free)
        chosen = ", ".join(
            f"CAST({_quoted(name)} AS {kinds.get(name, 'VARCHAR')}) AS {_quoted(name)}"
            for name in names
        )
        connection.execute(
            f"COPY (SELECT {chosen} FROM {source}) TO {text_literal(str(scratch))} (FORMAT parquet)"
        )
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"the entity file {path} is no CSV with a header and commas: {reason}"
        ) from error


def _kinds(
    connection: duckdb.DuckDBPyConnection, source: str, names: Sequence[str]
) -> dict[str, str]:
    """DuckDB's types of a CSV's columns, by what all of their texts look like."""
    if not names:
        return {}
    looks = ", ".join(
        f"bool_and(regexp_full_match({_quoted(name)}, '{_WHOLE}')), "
        f"bool_and(regexp_full_match({_quoted(name)}, '{_NUMBER}') "
        f"AND length({_quoted(name)}) <= {_NUMBER_LENGTH})"
        for name in names
    )
    said = connection.execute(f"SELECT {looks} FROM {source}").fetchall()[0]
    return {
        name: "BIGINT" if whole else "DOUBLE" if number else "VARCHAR"
        for name, whole, number in zip(names, said[::2], said[1::2], strict=True)
    }


def _check_columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        raise ConfigurationError(
            f"{path} has no column {', '.join(missing)}. A training set needs "
            f"{', '.join(needed)}; the file has: {', '.join(names) or 'no column'}"
        )
    # DuckDB takes names for equal that differ in case only.
    for name in [*needed, _NUMBERED]:
        same = [other for other in names if other.casefold() == name and other != name]
        if same or names.count(name) > 1 or _NUMBERED in names:
            raise ConfigurationError(
                f"{path}: rename the column {(same or [name])[0]}; it is taken for {name}"
            )


def _check_key(entities: EntityFile, key: str) -> None:
    kind = entities.schema.field(key).type
    if not pa.types.is_string(_plain(kind)):
        raise ConfigurationError(
            f"{entities.given}: {key} is {kind}, and keys are text. Write it as text: "
            f"frame[{key!r}] = frame[{key!r}].astype('string')"
        )


def _check_time(entities: EntityFile) -> None:
    kind = _plain(entities.schema.field(TIME).type)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_string(kind)):
        raise ConfigurationError(
            f"{entities.given}: {TIME} is {kind}, which is no time. Write it as a timestamp: "
            f"frame[{TIME!r}] = pandas.to_datetime(frame[{TIME!r}], unit='s', utc=True), if it "
            "counts seconds"
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type without the ways of storing it: every text is a string."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    # A column of nothing but nulls has the type null.
    return pa.string() if pa.types.is_null(kind) else kind


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
